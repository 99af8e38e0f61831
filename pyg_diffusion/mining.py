r"""Negatives for the training of energies, on any graph signal.

An energy trained on its slope alone is free in how high its landscape stands far from the data. A miner makes a signal
S⁻ beside the positive S⁺ = φ S_0 + σ ε at the same time, and a loss that puts S⁻ above it. Training aims at the energy

    E*(S) = ½ (S - φ S_0)ᵀ σ⁻¹ (S - φ S_0),      true gap = E*(S⁻) - E*(S⁺),

and a negative whose true gap is not positive is a false one: the loss then teaches what is wrong.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .denoise import Denoiser, Parts
from .network import Context, EnergyNetwork
from .registry import Registry
from .spectral import LaplacianOperator


@dataclass
class Mined:
    """What a miner made of a batch, one value per graph, `[num_graphs]`.

    Attributes:
        loss: to be added to the denoising loss.
        gap: E(S⁻) - E(S⁺) of the network.
        true_gap: the same of E*.
        kept: which graphs count in the loss.
        calls: evaluations of the energy or its slope that it took.
    """

    loss: Tensor
    gap: Tensor
    true_gap: Tensor
    kept: Tensor
    calls: int

    @property
    def false_share(self) -> Tensor:
        """Share of kept negatives that are false; 0 where none is kept."""
        return ((self.true_gap <= 0) & self.kept).sum() / self.kept.sum().clamp_min(1)

    def log(self) -> dict[str, float]:
        """Mean gaps over what is kept, the share of false negatives and the cost."""
        kept = self.kept.to(self.gap.dtype)
        mean = {
            name: float((value.detach() * kept).sum() / kept.sum().clamp_min(1))
            for name, value in (("gap", self.gap), ("true_gap", self.true_gap))
        }
        shares = {"false_negatives": float(self.false_share), "kept": float(kept.mean()) if kept.numel() else 0.0}
        return {**mean, **shares, "calls": self.calls}


@dataclass
class Positive:
    """S⁺ = φ S_0 + σ ε and what a miner may use to find S⁻. All signals are flat, `[num_nodes, C]`.

    Attributes:
        denoiser, net, operator, parts: of an energy, and the kernels φ, σ, p at its time.
        x_0, noise, signal: S_0, ε and S⁺.
        log_tau: `[num_graphs, 1]`.
        context: what the network reads, encoded.
        generator: of the miner's own noise.
        told: the context before it was encoded.
    """

    denoiser: Denoiser
    net: EnergyNetwork
    operator: LaplacianOperator
    parts: Parts
    x_0: Tensor
    noise: Tensor
    signal: Tensor
    log_tau: Tensor
    context: Context
    generator: torch.Generator | None
    told: Context = None

    def draw(self) -> Tensor:
        """White noise."""
        x = self.x_0
        return self.project(torch.randn(x.shape, generator=self.generator, dtype=x.dtype, device=x.device))

    def project(self, x: Tensor) -> Tensor:
        """x less the global translation, where the denoiser is centered."""
        denoiser, operator = self.denoiser, self.operator
        return operator.from_work(denoiser.project(operator, operator.to_work(x))) if denoiser.centered else x

    def diffuse(self, x_0: Tensor, noise: Tensor) -> Tensor:
        """φ x_0 + σ noise."""
        operator = self.operator
        terms = (self.parts.phi, operator.to_work(x_0)), (self.parts.sigma, operator.to_work(noise))
        return operator.from_work(operator.combine(*terms))

    def true_energy(self, signal: Tensor) -> Tensor:
        """E*, `[num_graphs]`."""
        operator = self.operator
        return 0.5 * operator.square_sum(
            operator.combine(
                (lambda lam: self.parts.sigma(lam).rsqrt(), operator.to_work(signal)),
                (lambda lam: -self.parts.phi(lam) * self.parts.sigma(lam).rsqrt(), operator.to_work(self.x_0)),
            )
        )

    def energy(self, signal: Tensor) -> Tensor:
        """E of the network, `[num_graphs]`."""
        return self.net.energy(signal, self.log_tau, self.operator, self.context)

    def descent(self, signal: Tensor) -> Tensor:
        """σ ∂E/∂S, the step to the minimum of the exact energy."""
        gradient = self.net.slope(signal, self.log_tau, self.operator, self.context)[1]
        return self.operator.apply(self.parts.sigma, self.project(gradient))

    def corrupted(self, scale: float) -> Tensor:
        """S_0 plus noise of the data's own spectrum, √p(L) z, times a scale."""
        operator = self.operator
        root = operator.combine((lambda lam: self.parts.power(lam).sqrt(), operator.to_work(self.draw())))
        return self.x_0 + scale * operator.from_work(root)


class Negatives(NamedTuple):
    """What a miner puts beside the positives.

    Attributes:
        signal: S⁻, `[num_nodes, C]`.
        kept: which graphs count, `[num_graphs]`.
        true_gap: where that is not E*(S⁻) - E*(S⁺), `[num_graphs]`.
        unit: of energy that gaps are told in, `[num_graphs]`; 1 if None.
    """

    signal: Tensor
    kept: Tensor
    true_gap: Tensor | None = None
    unit: Tensor | None = None


class Miner(ABC):
    """Makes negatives and their loss: cross entropy of telling S⁺ from S⁻, log(1 + e^{E⁺ - E⁻}), if not said otherwise.

    Attributes:
        calls: evaluations of the energy or its slope per step.
        needs: attributes of the data that it reads, which not all tasks have (`tasks.Task.has`).
    """

    calls: int = 2
    needs: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def negatives(self, positive: Positive) -> Negatives:
        """Of a batch."""

    def loss(self, gap: Tensor, true_gap: Tensor) -> Tensor:
        """Per graph, from the gaps of the network and of E*."""
        return softplus(-gap)

    def __call__(
        self,
        denoiser: Denoiser,
        operator: LaplacianOperator,
        x_0: Tensor,
        noise: Tensor,
        t: Tensor,
        context: Context = None,
        generator: torch.Generator | None = None,
    ) -> Mined:
        """Mine a batch.

        Args:
            denoiser: of an `EnergyNet`.
            operator: any backend.
            x_0, noise: signal and the positive's white noise, `[num_nodes, C]`.
            t: `[num_graphs, 1]`.
            context: handed to the network.
            generator: of the miner's own noise.

        Raises:
            TypeError: the denoiser's network is no energy.
        """
        net = denoiser.net
        if not isinstance(net, EnergyNetwork):
            raise TypeError(f"mining needs an EnergyNet, got {type(net).__name__}")

        log_tau = denoiser.sde.schedule.tau(t).expand(operator.num_graphs, 1).log()
        encoded = net.encode(context, operator)
        positive = Positive(
            denoiser, net, operator, denoiser.parts(t), x_0, noise, x_0, log_tau, encoded, generator, context
        )
        positive.x_0, positive.noise = positive.project(x_0), positive.project(noise)
        positive.signal = positive.diffuse(positive.x_0, positive.noise)
        with torch.no_grad():
            negative, kept, true_gap, unit = self.negatives(positive)
            unit = x_0.new_ones(()) if unit is None else unit
            if true_gap is None:
                true_gap = positive.true_energy(negative) - positive.true_energy(positive.signal)
            true_gap = true_gap / unit
        gap = (positive.energy(negative) - positive.energy(positive.signal)) / unit
        loss = torch.where(kept, self.loss(gap, true_gap), 0.0)
        return Mined(loss, gap.detach(), true_gap, kept, self.calls)

    def _all(self, positive: Positive) -> Tensor:
        return positive.operator.sizes > 0


class NoMining(Miner):
    """No negatives, a loss of 0."""

    calls = 0

    def __call__(self, denoiser, operator, x_0, noise, t, context=None, generator=None) -> Mined:
        zero = x_0.new_zeros(operator.num_graphs)
        return Mined(zero, zero, zero, zero > 0, 0)

    def negatives(self, positive: Positive) -> Negatives:
        return Negatives(positive.signal, ~self._all(positive))


class RandomNegatives(Miner):
    """A corrupted signal, noised anew: S⁻ = φ (S_0 + scale √p(L) z) + σ ε'.

    The fresh noise ε' alone changes E* by ½ (ε'ᵀσε' - εᵀσε), of either sign: where the corruption is small, so are half of
    the negatives false.
    """

    def __init__(self, scale: float = 1.0):
        self.scale = scale

    def negatives(self, positive: Positive) -> Negatives:
        return Negatives(positive.diffuse(positive.corrupted(self.scale), positive.draw()), self._all(positive))


class AdversarialNegatives(Miner):
    """Where descent of the network's energy from a corrupted signal gets to, noised anew (Du, Mao and Tenenbaum 2024).

    Steps S ← S - size σ ∂E/∂S, then S⁻ = S + σ ε'. With `bound`, estimates S/φ are kept within ±bound, at each sample's own
    time. On a good landscape few steps reach the truth, and S⁻ is as good as the positive.
    """

    def __init__(self, steps: int = 2, size: float = 0.5, scale: float = 1.0, bound: float = float("inf")):
        if steps < 1:
            raise ValueError(f"an adversary takes at least 1 step, got {steps}")
        self.steps, self.size, self.scale, self.bound = steps, size, scale, bound
        self.calls = steps + 2

    def estimate(self, positive: Positive) -> Tensor:
        """S_0⁻, where the descent ends."""
        operator, phi = positive.operator, positive.parts.phi
        x = positive.diffuse(positive.corrupted(self.scale), positive.draw())
        for _ in range(self.steps):
            x = x - self.size * positive.descent(x)
            if self.bound < float("inf"):
                x = operator.apply(phi, positive.project(operator.solve(phi, x).clamp(-self.bound, self.bound)))
        return operator.solve(phi, x)

    def negatives(self, positive: Positive) -> Negatives:
        return Negatives(positive.diffuse(self.estimate(positive), positive.draw()), self._all(positive))


class PublishedNegatives(Miner):
    r"""The miner as it was published with IRED (Du, Mao and Tenenbaum 2024), its errors included; for comparison.

    From φ S_0 + 3σ ε two accepted-or-rejected steps down the energy, an estimate clamped to ±2, and S⁻ = φ S_0⁻ + σ ε with
    the positive's ε. The multiplier of the step, 1 at first, is overwritten by the clip value 2; the clamp of the steps is
    2φ at the time of the first sample of the batch, for all of them; slopes carry second derivatives that nobody needs. On
    the exact energy steps of size s leave (1 - s)(1 - 2s) of the corruption: for s in (½, 1) S⁻ lies below S⁺.

    Args:
        size: s, the first step. Ten cosine levels have β_t/(1 - ᾱ_t), .47 to 1.
    """

    clip, corruption, steps, calls = 2.0, 3.0, 2, 6

    def __init__(self, size: float = 0.6):
        self.size = size

    def negatives(self, positive: Positive) -> Negatives:
        operator, phi, size = positive.operator, positive.parts.phi, self.size
        x = positive.diffuse(positive.x_0, self.corruption * positive.noise)
        # φ is the same in all modes of the processes that this was published for.
        first = operator.apply(phi, torch.ones_like(x))[:1, :1] if operator.num_nodes else x.new_ones(1, 1)
        for _ in range(self.steps):
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                energy = positive.energy(x)
                (gradient,) = torch.autograd.grad(energy.sum(), x, create_graph=True)
            trial = x - size * operator.apply(positive.parts.sigma, positive.project(gradient))
            trial = trial.detach().clamp(-self.clip * first, self.clip * first)
            x = trial.where(operator.on_nodes(positive.energy(trial) <= energy)[:, None], x.detach())
            size = self.clip * self.size
        x_0 = positive.project(operator.solve(phi, x).clamp(-self.clip, self.clip))
        return Negatives(positive.diffuse(x_0, positive.noise), self._all(positive))


class CalibratedNegatives(AdversarialNegatives):
    r"""Negatives φ (S_0 + r d) + σ ε with the positive's own ε, at the r where the true gap is a few nats:

        true gap = ½ r² dᵀ(φ²/σ)d + r dᵀφ ε,      r > 0 its one positive root.

    d points to where the adversary's descent ends. Shared noise leaves the gap in closed form, and the network's is
    regressed on it, ((gap - true gap)/true gap)², which does not saturate; fresh noise would drown it. No negative is false.
    Graphs whose adversary found the truth are left out.

    Args:
        low, high: the true gap is drawn uniformly from here, in nats.
        near: smallest root mean square of d/√p that counts as not the truth.
        steps, size, scale, bound: of the adversary.
    """

    def __init__(
        self,
        low: float = 1.0,
        high: float = 8.0,
        near: float = 1e-3,
        steps: int = 2,
        size: float = 0.5,
        scale: float = 1.0,
        bound: float = float("inf"),
    ):
        super().__init__(steps, size, scale, bound)
        if not 0 < low <= high:
            raise ValueError(f"the gap needs 0 < low <= high, got {low} and {high}")
        self.low, self.high, self.near = low, high, near

    def negatives(self, positive: Positive) -> Negatives:
        operator, parts = positive.operator, positive.parts
        d = operator.to_work(self.estimate(positive) - positive.x_0)
        length = operator.square_sum(operator.combine((lambda lam: parts.power(lam).rsqrt(), d)))
        kept = length > self.near**2 * operator.sizes * positive.x_0.size(1)  # False for NaN, and for graphs without nodes
        a = 0.5 * operator.square_sum(operator.combine((lambda lam: parts.phi(lam) * parts.sigma(lam).rsqrt(), d)))
        b = operator.graph_sum(operator.from_work(operator.combine((parts.phi, d))) * positive.noise).sum(1)
        uniform = torch.rand(a.shape, generator=positive.generator, dtype=a.dtype, device=a.device)
        gap = self.low + (self.high - self.low) * uniform
        root = (b.square() + 4 * a * gap).sqrt()
        r = torch.where(b > 0, 2 * gap / (b + root), (root - b) / (2 * a).clamp_min(torch.finfo(a.dtype).tiny))
        r = torch.where(kept & r.isfinite(), r, 0.0)
        moved = positive.x_0 + operator.on_nodes(r)[:, None] * operator.from_work(d)
        return Negatives(positive.diffuse(moved, positive.noise), kept & (r > 0))

    def loss(self, gap: Tensor, true_gap: Tensor) -> Tensor:
        return ((gap - true_gap) / true_gap.clamp_min(self.low / 2)).square()


_MOLECULES = "pyg_diffusion.tasks.molecules.mining"
MINERS: Registry[type[Miner]] = Registry(
    "miners",
    {
        "none": f"{__name__}:NoMining",
        "random": f"{__name__}:RandomNegatives",
        "published": f"{__name__}:PublishedNegatives",
        "adversarial": f"{__name__}:AdversarialNegatives",
        "calibrated": f"{__name__}:CalibratedNegatives",
        "torsions": f"{_MOLECULES}:TorsionNegatives",
        "minima": f"{_MOLECULES}:MinimumNegatives",
    },
)


def miners_of(has: Collection[str] = ()) -> list[str]:
    """Names of the miners that need no more of the data than these attributes.

    Example:
        >>> from pyg_diffusion.mining import miners_of
        >>> miners_of()
        ['none', 'random', 'published', 'adversarial', 'calibrated']
    """
    return [name for name in MINERS if set(MINERS[name].needs) <= set(has)]
