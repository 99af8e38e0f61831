"""The Gaussian law of signals: their power spectrum on any graphs, and draws of what is missing."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from ...data import laplacian_operator
from ...data.signals import SignalSet, Values
from ...spectral import (
    ChebyshevOperator,
    DenseOperator,
    ExactOperator,
    Kernel,
    Laplacian,
    LaplacianOperator,
    LowRankOperator,
    PowerSpectrum,
)
from ...spectral.bands import fit_bands
from ...spectral.cg import conjugate_gradients
from .laplacian import SignalLaplacian

SIGNALS, ENTRIES = 4000, 20_000_000  # that a spectrum is fitted to, at most
DENSE = 2048  # nodes up to which one of many graphs is decomposed for it
ROUNDS = 4  # of drawing what is missing and fitting the spectrum
ERROR = 1e-2  # standard deviations within which known values bind the draws of the others


def _polynomial(laplacian: Laplacian) -> ChebyshevOperator:
    return ChebyshevOperator(laplacian, tol=1e-3, max_degree=1024)


def fit_spectrum(signals: SignalSet, laplacian: SignalLaplacian, seed: int) -> PowerSpectrum:
    """p(λ) of signals, per channel."""
    rng = np.random.default_rng([seed, 2])
    if len(signals.graphs) == 1:
        x = signals.stacked()
        most = max(8, min(SIGNALS, ENTRIES // (x.size(1) * x.size(2))))
        x = x[torch.from_numpy(rng.permutation(len(x))[:most])].double().transpose(0, 1)  # [N, S, C]
        operator = laplacian.single(signals.graphs[0], torch.float64)
        if isinstance(operator, ExactOperator):
            power = _powers(operator.to_modes(x.flatten(1))[0], x)
            return PowerSpectrum.fit_modes(operator.eigenvalues[0], power)
        if isinstance(operator, LowRankOperator):
            return _of_lowest(operator, x)
        return _of_bands([signals.graphs[0]], x, laplacian, seed)
    some = rng.permutation(len(signals))[:SIGNALS]
    sizes = signals.sizes()[some]
    small = some[sizes <= DENSE][: max(1, ENTRIES // max(1, int(sizes.max()) ** 2))]
    if not len(small):
        few = some[:4]
        return _of_bands([signals.data(k) for k in few], torch.cat([signals.x[k] for k in few])[:, None], laplacian, seed)
    batch = Batch.from_data_list([signals.data(k) for k in small])
    operator = laplacian_operator(
        batch, DenseOperator.from_laplacian, torch.float64, normalized=laplacian.options.normalized
    )
    assert isinstance(operator, DenseOperator)
    modes = operator.to_modes(torch.cat([signals.x[k] for k in small]).double())
    free = operator.mode_mask & (operator.eigenvalues > 0)
    null = modes[operator.mode_mask & ~free].square().mean(0)
    if int(free.sum()) < 2:
        return PowerSpectrum(torch.tensor([-1.0, 0.0]), null.clamp_min(1e-12).log().expand(2, -1), 1.0)
    return PowerSpectrum.fit(operator.eigenvalues[free], modes[free].square(), null=null)


def _powers(modes: Tensor, x: Tensor) -> Tensor:
    """E|Ŝ|² `[M, C]` of modes `[M, S C]`."""
    return modes.view(len(modes), x.size(1), x.size(2)).square().mean(1)


def _of_lowest(operator: LowRankOperator, x: Tensor) -> PowerSpectrum:
    """The lowest modes one by one; all others have one power, as the operator has one value for them."""
    power = _powers(operator.eigenvectors.mT @ x.flatten(1), x)
    rest = (x.square().sum(0).mean(0) - power.sum(0)).clamp_min(0) / max(1, x.size(0) - len(power))
    lam = torch.cat([operator.eigenvalues[0], operator.bound])
    return PowerSpectrum.fit_modes(lam, torch.cat([power, rest[None]]))


def _of_bands(graphs: Sequence[Data], x: Tensor, laplacian: SignalLaplacian, seed: int) -> PowerSpectrum:
    batch = Batch.from_data_list(list(graphs))
    operator = laplacian_operator(batch, _polynomial, torch.float64, normalized=laplacian.options.normalized)
    assert isinstance(operator, ChebyshevOperator)
    x = x.double()
    constant = operator.null_part(x.flatten(1)).view_as(x)
    null = constant.square().sum(0).mean(0) / operator.num_components
    return fit_bands(operator, x - constant, null, float(operator.bound.max()), seed)


def fill(operator: LaplacianOperator, x: Tensor, known: Tensor, spectrum: PowerSpectrum, noise: Tensor) -> Tensor:
    """Draws of N(0, p(L)) given what is known, `[num_nodes, K, C]`; every column is a signal of its own.

    √p z + p Hᵀ (H p Hᵀ + r²)⁻¹ (x - H √p z) in float64 (Matheron's rule), r = `ERROR`; known values stay as they are.

    Args:
        x, known: values and whether they are known, `[num_nodes, K, C]`.
        noise: z, of the same shape.

    Raises:
        ConvergenceError: the known values fit nothing that such a law gives.
    """
    operator, made = operator.to(torch.float64), []
    for c in range(x.size(2)):

        def power(lam: Tensor, c: int = c) -> Tensor:
            p = spectrum(lam)
            return p[..., c] if p.dim() > lam.dim() else p

        def root(lam: Tensor, power: Kernel = power) -> Tensor:
            return power(lam).sqrt()

        seen, wanted = known[:, :, c], x[:, :, c].double()
        draw = operator.apply(root, noise[:, :, c].double())

        def product(v: Tensor, seen: Tensor = seen, power: Kernel = power) -> Tensor:
            return torch.where(seen, operator.apply(power, v), 0) + ERROR**2 * v

        gap = torch.where(seen, wanted - draw, 0)
        weights = conjugate_gradients(product, gap, operator.graph_sum, operator.on_nodes, 1e-5, 4000)
        made.append(torch.where(seen, wanted, draw + operator.apply(power, weights)))
    return torch.stack(made, 2).to(x.dtype)


def complete(
    signals: SignalSet, laplacian: SignalLaplacian, seed: int, spectrum: PowerSpectrum | None = None
) -> tuple[SignalSet, PowerSpectrum]:
    """Signals with what is missing drawn from their Gaussian law, and its p(λ).

    The law is that of the known values: p is fitted to completed signals, and these are drawn from p, a few times
    (stochastic expectation maximisation).

    Args:
        spectrum: p; None where it is to be found.
    """
    if signals.known is None:
        return signals, spectrum or fit_spectrum(signals, laplacian, seed)
    rng, whole, known = np.random.default_rng([seed, 3]), spectrum is not None, signals.known
    share = float(sum(mask.sum() for mask in known)) / sum(mask.numel() for mask in known)
    if spectrum is None:
        spectrum = fit_spectrum(
            replace(signals, x=_each(signals, lambda k: signals.x[k] / max(share, 1e-3) ** 0.5)), laplacian, seed
        )
    for _ in range(1 if whole else ROUNDS):
        filled = replace(signals, x=_filled(signals, laplacian, spectrum, rng), known=None)
        if not whole:
            spectrum = fit_spectrum(filled, laplacian, seed)
    return filled, spectrum


def _each(signals: SignalSet, made: Callable[[int], Tensor]) -> Values:
    x = [made(k) for k in range(len(signals))]
    return torch.stack(x) if len(signals.graphs) == 1 else x


def _filled(signals: SignalSet, laplacian: SignalLaplacian, spectrum: PowerSpectrum, rng: np.random.Generator) -> Values:
    """One draw of each signal."""
    assert signals.known is not None
    if len(signals.graphs) == 1:
        operator = laplacian.single(signals.graphs[0], torch.float64)
        x, known = signals.stacked().transpose(0, 1), torch.stack(list(signals.known)).transpose(0, 1)
        noise = torch.from_numpy(rng.standard_normal(x.shape))
        return fill(operator, x, known, spectrum, noise).transpose(0, 1).contiguous()
    made = []
    for k in range(len(signals)):
        x, known = signals.x[k][:, None], signals.known[k][:, None]
        noise = torch.from_numpy(rng.standard_normal(x.shape))
        made.append(fill(laplacian.single(signals.data(k), torch.float64), x, known, spectrum, noise)[:, 0])
    return made
