r"""Training objectives of a denoiser: one quadratic error of D, weighted mode by mode.

    loss = mean over modes and channels of κ² |D - S_0|²,      κ²(λ, t) = w(λ, t) Σ_q weight_q gain_q²(λ, t)

The named objectives differ in the gain of their quantity q alone (`denoise.gain`): x₀ 1, F 1/c_out, ε-MSE φ/σ, denoising
score matching φ/σ² (Vincent 2011). The error is formed in what the network predicts, so that nothing cancels.

A penalty R on the estimate D counts as far as S_t says anything of S_0: D is a mean over what is unknown, and the mean of
good signals need not be good. It is weighted by the root mean square over modes of the known share φ c_skip.

Where the clean signals that S_t may have come from are known, E[S_0 | S_t] stands in the place of S_0 (see `posterior`). A
quadratic error has the same minimiser with either, and its gradient less noise.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .denoise import Denoiser, Parts, denoised_from, gain, prediction_target
from .posterior import Origins
from .registry import Registry, own
from .spectral import ExactOperator, Kernel, LaplacianOperator
from .spectral.operator import with_channels

OBJECTIVES = ("F", "eps", "score", "x0")
MIN_SNR = 5.0  # Hang et al. 2023
TimeWeight = Callable[[Denoiser, Tensor, Parts], Kernel]


def even(denoiser: Denoiser, t: Tensor, parts: Parts) -> Kernel:
    """w = 1."""
    return torch.ones_like


def min_snr(denoiser: Denoiser, t: Tensor, parts: Parts) -> Kernel:
    """w = min(SNR, 5)/SNR, SNR = φ²p/σ² of each mode; with the objective eps that of Hang et al. 2023."""
    return lambda lam: (MIN_SNR * (parts.sigma(lam) / parts.phi(lam)) ** 2 / parts.power(lam)).clamp_max(1.0)


def edm(denoiser: Denoiser, t: Tensor, parts: Parts) -> Kernel:
    """w = 1/c_out² = (φ²p + σ²)/(p σ²); with the objective x0 that of Karras et al. 2022, (σ² + σ_d²)/(σ σ_d)², mode by
    mode, which is the objective F."""
    return lambda lam: parts.total(lam) / (parts.power(lam) * parts.sigma(lam) ** 2)


def likelihood(denoiser: Denoiser, t: Tensor, parts: Parts) -> Kernel:
    """w = g² dτ/dt; with the objective score and t uniform it bounds the likelihood (Song et al. 2021)."""
    return lambda lam: denoiser.sde.diffusion2(lam) * denoiser.sde.schedule.rate(t)


_HERE = "pyg_diffusion.loss"
TIME_WEIGHTS: Registry[TimeWeight] = Registry(
    "time_weights",
    {
        "none": f"{_HERE}:even",
        "min_snr": f"{_HERE}:min_snr",
        "likelihood": f"{_HERE}:likelihood",
        "edm": f"{_HERE}:edm",
    },
)


def time_weight(name: str, denoiser: Denoiser, t: Tensor, parts: Parts) -> Kernel:
    """w(λ, t), by a name in `TIME_WEIGHTS` or of a function of one's own, `module:function`, called as those are with
    (denoiser, t `[num_graphs, 1]`, parts) and giving a kernel of λ.

    Raises:
        ValueError: there is none, or it gives what is negative or not finite.
    """
    if name in TIME_WEIGHTS:
        return TIME_WEIGHTS[name](denoiser, t, parts)
    kernel: Kernel = own(TIME_WEIGHTS, name)(denoiser, t, parts)

    def checked(lam: Tensor) -> Tensor:
        w = kernel(lam)
        if not bool((w.isfinite() & (w >= 0)).all()):
            raise ValueError(f"{name}: a time weight must be finite and >= 0, and this has {float(w.min()):g}")
        return w

    return checked


class Losses(NamedTuple):
    """One value per graph: `exact`, what is minimised, against E[S_0 | S_t] where candidates were given; and `sampled`, the
    same against the drawn S_0, without a gradient. Without candidates they are equal. `terms`, without a gradient, are what
    `exact` is the sum of: each objective, "stages" for the intermediate estimates, and each penalty."""

    exact: Tensor
    sampled: Tensor
    terms: dict[str, Tensor]


def target_shift(denoiser: Denoiser, operator: LaplacianOperator, s_t: Tensor, parts: Parts, candidates: Origins) -> Tensor:
    """What the target of the network changes by when E[S_0 | S_t] takes the place of S_0, in modes, formed in float64:
    that of F by (E[S_0 | S_t] - S_0)/c_out, that of ε by -φ/σ of it.

    Raises:
        TypeError: an operator without an eigenbasis, or without the one that the candidates need.
    """
    if not isinstance(operator, ExactOperator):
        raise TypeError(f"exact targets need a DenseOperator (backend=DenseOperator.from_laplacian), got {operator!r}")
    phi, sigma = operator.response(parts.phi), operator.response(parts.sigma)
    mean = candidates.mean_given(operator, phi, sigma, s_t, denoiser.centered)
    shift = denoiser.project(operator, operator.to(torch.float64).to_modes(mean - candidates.drawn.double()))
    sign = -1.0 if denoiser.predicts == "eps" else 1.0
    return (sign * operator.response(gain(denoiser.predicts, parts)).double() * shift).to(s_t.dtype)


def _kappa(denoiser: Denoiser, t: Tensor, parts: Parts, weight: str, objectives: Mapping[str, float]) -> Kernel:
    """κ per unit of error in what the network predicts."""

    def root(lam: Tensor) -> Tensor:
        w = with_channels(time_weight(weight, denoiser, t, parts)(lam))
        mine = with_channels(gain(denoiser.predicts, parts)(lam))
        gains = [share * (with_channels(gain(name, parts)(lam)) / mine) ** 2 for name, share in objectives.items()]
        return (w * torch.stack(torch.broadcast_tensors(*gains)).sum(0)).sqrt()

    return root


def _checked(objectives: Mapping[str, float]) -> Mapping[str, float]:
    unknown = sorted(set(objectives) - set(OBJECTIVES))
    if unknown or not objectives or min(objectives.values()) < 0:
        raise ValueError(f"objectives are weights >= 0 of {', '.join(OBJECTIVES)}, got {dict(objectives)}")
    return objectives


def _known_share(operator: LaplacianOperator, parts: Parts, eps: Tensor) -> Tensor:
    """Root mean square over modes of φ c_skip, from white noise, `[num_graphs]`."""
    filtered = operator.combine((lambda lam: parts.phi(lam) * parts.c_skip(lam), eps))
    return (operator.square_sum(filtered) / operator.square_sum(eps).clamp_min(1e-12)).sqrt()


def denoising_loss(*args: Any, **options: Any) -> Tensor:
    """`Losses.exact` of `denoising_losses`, `[num_graphs]`; arguments as there."""
    return denoising_losses(*args, **options).exact


def denoising_losses(
    denoiser: Denoiser,
    operator: LaplacianOperator,
    x_0: Tensor,
    noise: Tensor,
    t: Tensor,
    context: Any = None,
    stage_weight: float = 0.25,
    objectives: Mapping[str, float] | None = None,
    weight: str = "none",
    penalties: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    candidates: Origins | None = None,
) -> Losses:
    """The weighted error of a denoiser, one value per graph (see the module).

    The default objective is the error of F, the preconditioned x₀ error: an untrained network that predicts F starts near 1
    at every time and mode.

    Args:
        x_0, noise: signal and white noise, `[num_nodes, C]`.
        t: `[num_graphs, 1]`.
        stage_weight: weight of the intermediate estimates of a network that has stages.
        objectives: weights of "F", "eps", "score", "x0"; `{"F": 1}` if None.
        weight: name of w, see `time_weight`.
        penalties: R of a signal `[num_nodes, C]` by name, one value per graph; added per mode and channel, as the error is.
        candidates: the clean signals that each graph may have come from, made of x_0; None if x_0 alone is known.

    Returns:
        `[num_graphs]` each; graphs without a free mode (a single centered atom) give 0.
    """
    objectives = _checked({"F": 1.0} if objectives is None else objectives)
    s_0, eps = (denoiser.project(operator, operator.to_work(x)) for x in (x_0, noise))
    parts, native = denoiser.parts(t), denoiser.predicts
    s_t = operator.combine((parts.phi, s_0), (parts.sigma, eps))
    target = drawn = operator.combine(*zip(prediction_target(native, parts), (s_0, eps), strict=True))
    if candidates is not None:
        target = drawn + target_shift(denoiser, operator, s_t, parts, candidates)
    count = (operator.sizes - int(denoiser.centered)).clamp_min(1) * x_0.size(-1)

    def errors(objectives: Mapping[str, float], target: Tensor, predictions: list[Tensor]) -> list[Tensor]:
        """Weighted, of each prediction."""
        plain = weight == "none" and dict(objectives) == {native: 1.0}
        kappa = _kappa(denoiser, t, parts, weight, objectives)
        gaps = [out - target for out in predictions]
        return [operator.square_sum(gap if plain else operator.combine((kappa, gap))) / count for gap in gaps]

    predictions = denoiser.predictions(operator, s_t, t, parts, context)
    *early, last = errors(objectives, target, predictions)
    loss = last + stage_weight * sum(early)
    with torch.no_grad():
        *early_drawn, last_drawn = errors(objectives, drawn, predictions)
        sampled = last_drawn + stage_weight * sum(early_drawn)
        alone = len(objectives) == 1
        terms = {k: last if alone else errors({k: v}, target, predictions[-1:])[0] for k, v in objectives.items()}
        terms |= {"stages": loss - last} if early else {}
    for name, penalty in (penalties or {}).items():
        d = operator.combine(*zip(denoised_from(native, parts), (s_t, predictions[-1]), strict=True))
        paid = _known_share(operator, parts, eps) * penalty(operator.from_work(d)) / count
        loss, sampled, terms[name] = loss + paid, sampled + paid.detach(), paid
    return Losses(loss, sampled, {name: value.detach() for name, value in terms.items()})
