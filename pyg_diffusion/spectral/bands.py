"""The power spectrum of signals on graphs too large to decompose: energies in bands of λ, each an octave wide."""

import math
import warnings

import torch
from torch import Tensor

from .kernels import PowerSpectrum
from .operator import Kernel, LaplacianOperator
from .sparse import SparseOperator

WIDTH = 0.5  # of a band, standard deviation in octaves of λ
ROUNDS = 4  # of the correction for what bands see of their neighbours
PROBES = 8, 256  # white signals that modes are counted with, at least and at most
PROBED = 100_000  # nodes of all of them together that are enough


def band_kernels(top: float, lowest: float) -> tuple[Tensor, list[Kernel]]:
    """Centres λ_b, a factor of 2 apart from `lowest` to `top`, and f_b(λ) = exp(-½ (log₂(λ/λ_b)/w)²), f_b(0) = 0."""
    count = max(2, math.ceil(math.log2(top / lowest)) + 1)
    centres = torch.logspace(math.log2(lowest), math.log2(top), count, 2.0, dtype=torch.float64)

    def kernel(centre: Tensor) -> Kernel:
        def f(lam: Tensor) -> Tensor:
            octaves = (lam.clamp_min(1e-30) / centre.to(lam)).log2()
            return torch.exp(-0.5 * (octaves / WIDTH).square())

        return f

    return centres, [kernel(centre) for centre in centres]


def band_energies(operator: LaplacianOperator, x: Tensor, kernels: list[Kernel]) -> Tensor:
    """Σ over nodes of |f_b(L) x|² of each band and column, `[num_nodes, K] -> [bands, K]`."""
    return torch.stack([y.double().square().sum(0) for y in operator.apply_many(kernels, x)])


def mode_counts(operator: LaplacianOperator, kernels: list[Kernel], seed: int) -> Tensor:
    """Σ over modes of f_b², `[bands]`, from white signals."""
    return band_energies(operator, _white(operator, seed), kernels).mean(1)


def _white(operator: LaplacianOperator, seed: int) -> Tensor:
    """White signals `[num_nodes, K]`, the more the fewer nodes there are to average over."""
    least, most = PROBES
    count = min(most, max(least, PROBED // max(1, operator.num_nodes)))
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(operator.num_nodes, count, generator=draw, dtype=torch.float64).to(operator.device, operator.dtype)


def band_powers(operator: SparseOperator, x: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Mean |Ŝ|² of the modes in bands an octave wide: (λ_b `[bands]`, p_b `[bands, K]`) of signals `[num_nodes, K]`; first
    that of null modes, λ = 0.

    Args:
        seed: of the white signals that modes are counted with.

    Example:
        >>> import torch
        >>> from pyg_diffusion.data import grid_graph
        >>> from pyg_diffusion.spectral import ChebyshevOperator, Laplacian
        >>> from pyg_diffusion.spectral.bands import band_powers
        >>> ring = grid_graph((600,), "cycle")
        >>> L = ChebyshevOperator(Laplacian.from_edges(ring.edge_index, 600), tol=1e-6)
        >>> lam, p = band_powers(L, torch.ones(600, 1, dtype=torch.float64))
        >>> round(float(p[0])), bool((p[1:] < 1e-9).all())  # all of it lies in the constant
        (600, True)
    """
    x = x.to(operator.dtype)
    null = operator.null_part(x)
    centres, kernels = band_kernels(float(operator.bound.max()), float(operator.bound.max()) / _parts(operator))
    modes = mode_counts(operator, kernels, seed)
    seen = modes >= 0.5
    energies = band_energies(operator, x - null, kernels)
    powers = torch.cat([null.square().sum(0)[None] / operator.num_components, energies[seen] / modes[seen, None]])
    return torch.cat([centres.new_zeros(1), centres[seen.cpu()]]), powers


def _parts(operator: LaplacianOperator) -> float:
    """By how much the lowest band lies below the top."""
    return max(16, 4 * int(operator.sizes.max()))


def fit_bands(operator: LaplacianOperator, x: Tensor, null: Tensor, bound: float, seed: int = 0) -> PowerSpectrum:
    r"""p(λ) of signals on graphs of any size, without an eigenvalue.

    Knots lie an octave apart. p is the one with which a Gaussian signal √p(L) z has in every band the mean energy that the
    signals have: p_b ← p_b E|f_b(L) x|² / E|f_b(L) √p(L) z|², a few times, z white.

    Args:
        operator: of the graphs, of any backend.
        x: signals beside each other, without their part in the null space, `[num_nodes, S, C]`.
        null: mean power of null modes, `[C]`.
        bound: of the eigenvalues.
        seed: of z.

    Example:
        >>> import torch
        >>> from pyg_diffusion.data import grid_graph, laplacian_operator
        >>> from pyg_diffusion.spectral.bands import fit_bands
        >>> L, draw = laplacian_operator(grid_graph((40, 40))), torch.Generator().manual_seed(0)
        >>> z = torch.randn(1600, 50, generator=draw)
        >>> x = L.apply(lambda lam: torch.where(lam > 0, 1 / (lam + 0.1), 0), z)
        >>> p = fit_bands(L, x[:, :, None], torch.tensor([100.0]), 8.0)(torch.tensor([[0.2, 1.0, 4.0]]))
        >>> bool(((p[0, :, 0] * torch.tensor([0.3, 1.1, 4.1]) ** 2).log().abs() < 0.2).all())  # 1/(λ + .1)²
        True
    """
    nodes, count, channels = x.shape
    centres, kernels = band_kernels(bound, bound / _parts(operator))
    found = band_energies(operator, x.reshape(nodes, -1), kernels).view(-1, count, channels).mean(1)
    white = _white(operator, seed)
    modes = band_energies(operator, white, kernels).mean(1)  # Σ f_b², how many modes a band has
    seen = modes >= 0.5
    if not bool(seen.any()):  # no edges
        return PowerSpectrum(torch.tensor([-1.0, 0.0]), null.double().clamp_min(1e-12).log().expand(2, -1), 1.0)
    first = int(seen.nonzero()[0])  # below lies no mode
    kernels, found, modes = kernels[first:], found[first:], modes[first:, None].clamp_min(1e-3)
    centres = centres[first:]
    least = 1e-8 * float(found.sum() / modes.sum())
    power = (found / modes).clamp_min(least)
    for _ in range(ROUNDS):
        spectrum = _spectrum(centres, power, null)
        for c in range(channels):  # one channel's p at a time: the probes serve all

            def root(lam: Tensor, p: PowerSpectrum = spectrum, c: int = c) -> Tensor:
                values: Tensor = p(lam)[..., c]
                return values.sqrt()

            with warnings.catch_warnings():  # a polynomial that rounds the kinks of √p off serves here as well
                warnings.filterwarnings("ignore", ".*does not resolve.*")
                gaussian = operator.apply(root, white)
            made = band_energies(operator, gaussian, kernels).mean(1).clamp_min(1e-30)
            power[:, c] = (power[:, c] * found[:, c] / made).clamp_min(least)
    return _spectrum(centres, power, null)


def _spectrum(centres: Tensor, power: Tensor, null: Tensor) -> PowerSpectrum:
    """With a knot of their own for null modes."""
    knots = torch.cat([centres[:1].log() - math.log(4), centres.log()])  # no jump, which polynomials would have to follow
    return PowerSpectrum(knots, torch.cat([null.double().clamp_min(1e-12).log()[None], power.log()]), 1.0)
