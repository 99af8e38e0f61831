"""Laws that every backend and network inherits, and the one denoiser whose samples are known in closed form."""

from collections.abc import Callable, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from .denoise import Denoiser
from .network import Noisy
from .nn import NetworkBase
from .sde import GeometricTime, LinearSDE
from .spectral import ExactOperator, GridOperator, Kernel, LaplacianOperator, PowerSpectrum
from .spectral import heat as spectral_heat


class ZeroNet(NetworkBase):
    """F = 0: leaves a `Denoiser` with its linear part."""

    def forward(self, noisy: Noisy, operator: LaplacianOperator, context=None) -> Tensor:
        return torch.zeros_like(noisy.signal)


def gaussian_denoiser(sde: LinearSDE, spectrum: Callable[[Tensor], Tensor], centered: bool = False) -> Denoiser:
    """The exact E[S_0 | S_t] of Gaussian data N(0, p(L)): D = φp / (φ²p + σ²) S_t in every mode.

    It is a `Denoiser` with the network F = 0, since the preconditioning already is the best linear denoiser.

    Args:
        sde: the process.
        spectrum: p(λ), any callable.
        centered: the data has no global translation.
    """
    return Denoiser(ZeroNet(), sde, spectrum, centered=centered)


def gaussian_example(nodes: int = 6, channels: int = 2) -> tuple[Denoiser, GridOperator, Callable[[], Tensor]]:
    """Gaussian fields on a path: their exact denoiser, the operator, and white noise to draw from. For examples."""
    generator = torch.Generator().manual_seed(0)
    sde = LinearSDE(GeometricTime(1e-3, 10.0), gamma=1.0, lambda0=0.1)
    denoiser = gaussian_denoiser(sde, PowerSpectrum.harmonic(low=0.1))
    return denoiser, GridOperator((nodes,)), lambda: torch.randn(nodes, channels, generator=generator)


class GaussianMixture(NetworkBase):
    """Σ_k π_k N(μ_k, q(L)) on one graph, with its exact denoiser in closed form; a network F for a `Denoiser`.

    D = Σ_k r_k (μ_k + φq/(φ²q + σ²) (S_t - φμ_k)),  r_k ∝ π_k N(S_t; φμ_k, φ²q + σ²),  F = c_out⁻¹ (D - c_skip S_t).

    Args:
        means: μ, `[K, num_nodes, C]`, of every graph of a batch alike.
        weights: π, `[K]`.
        power: q(λ).
        sde, spectrum: those of the `Denoiser`.
    """

    def __init__(self, means: Tensor, weights: Tensor, power: Kernel, sde: LinearSDE, spectrum: Kernel):
        super().__init__()
        self.means, self.weights, self.power, self.sde, self.spectrum = means, weights, power, sde, spectrum

    def _log_components(self, operator: ExactOperator, modes: Tensor, phi: Tensor, total: Tensor) -> Tensor:
        """log π_k N(S; φμ_k, total) of each graph, `[K, num_graphs]`."""
        logs = []
        for weight, mean in zip(self.weights, self.means, strict=True):
            gap = modes - phi * self._modes(operator, mean)
            per_mode = (gap**2 / total + (2 * torch.pi * total).log()) * operator.mode_mask.unsqueeze(-1)
            logs.append(weight.log() - 0.5 * per_mode.sum((1, 2)))
        return torch.stack(logs)

    def _modes(self, operator: ExactOperator, mean: Tensor) -> Tensor:
        return operator.to_modes(mean.repeat(operator.num_graphs, 1))

    def _moments(self, operator: ExactOperator, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        phi, sigma, power = (operator.response(k) for k in (self.sde.mean(t), self.sde.std(t), self.power))
        return phi, power, phi**2 * power + sigma**2

    def log_density(self, operator: ExactOperator, x: Tensor, t: Tensor) -> Tensor:
        """log q_t(x) of each graph."""
        phi, _, total = self._moments(operator, t)
        return self._log_components(operator, operator.to_modes(x), phi, total.expand(-1, -1, x.size(1))).logsumexp(0)

    def denoised(self, operator: ExactOperator, modes: Tensor, t: Tensor) -> Tensor:
        """E[S_0 | S_t], modes in and out."""
        phi, power, total = self._moments(operator, t)
        share = self._log_components(operator, modes, phi, total.expand_as(modes)).softmax(0)
        mean = sum(r[:, None, None] * self._modes(operator, mu) for r, mu in zip(share, self.means, strict=True))
        return mean + phi * power / total * (modes - phi * mean)

    def forward(self, noisy: Noisy, operator: ExactOperator, context=None) -> Tensor:
        t = self.sde.schedule.t(noisy.log_tau.exp())
        d = self.denoised(operator, operator.to_modes(noisy.signal), t)
        return operator.from_modes((d - operator.to_modes(noisy.skip)) / operator.response(noisy.c_out))


def random_graph(num_nodes: int, density: float = 0.4, weighted: bool = False, seed: int = 0) -> tuple[Tensor, Tensor]:
    """(edge_index `[2, E]`, edge_weight `[E]` float64) of an Erdős-Rényi graph, both directions; it may be disconnected."""
    generator = torch.Generator().manual_seed(seed)
    upper = torch.rand(num_nodes, num_nodes, generator=generator).triu(1)
    row, col = ((upper > 0) & (upper < density)).nonzero().T
    weight = torch.rand(row.numel(), generator=generator, dtype=torch.float64) * 2 + 0.1
    weight = weight if weighted else torch.ones_like(weight)
    return torch.stack([torch.cat([row, col]), torch.cat([col, row])]), torch.cat([weight, weight])


def laplacian_matrix(edge_index: Tensor, num_nodes: int, edge_weight: Tensor | None = None) -> Tensor:
    """L = D - W of one graph, dense, float64, written without regard to speed."""
    w = torch.zeros(num_nodes, num_nodes, dtype=torch.float64)
    for k, (i, j) in enumerate(edge_index.T.tolist()):
        if i != j:
            w[i, j] += 1.0 if edge_weight is None else float(edge_weight[k])
    return torch.diag(w.sum(1)) - w


def matrix_function(laplacian: Tensor, kernel: Kernel) -> Tensor:
    """f(L) = U f(Λ) Uᵀ, `[N, N]`, by an `eigh` of its own."""
    lam, u = torch.linalg.eigh(laplacian)
    return (u * kernel(lam[None])[0]) @ u.mT


def _assert_close(actual: Tensor, expected: Tensor, tol: float, law: str) -> None:
    torch.testing.assert_close(actual, expected, rtol=tol, atol=tol, msg=lambda m: f"law broken: {law}\n{m}")


class _Laws:
    """An operator, the Laplacians that it should be of, and signals to try it on."""

    heat = staticmethod(spectral_heat(0.3))

    def __init__(self, operator: LaplacianOperator, laplacians: Sequence[Tensor], tol: float, seed: int):
        self.operator, self.laplacians, self.tol = operator, laplacians, tol
        self.generator = torch.Generator().manual_seed(seed)
        self.sizes = [lap.size(0) for lap in laplacians]
        self.x, self.other = torch.randn(2, sum(self.sizes), 3, generator=self.generator, dtype=torch.float64)
        self.rate = torch.rand(len(self.sizes), 1, generator=self.generator, dtype=torch.float64) + 0.1

    @staticmethod
    def rational(lam: Tensor) -> Tensor:
        return 2 / (1 + 0.5 * lam)

    def exact(self, kernel: Kernel) -> Tensor:
        pieces = zip(self.laplacians, self.x.split(self.sizes), strict=True)
        return torch.cat([matrix_function(lap, kernel) @ x_g for lap, x_g in pieces])

    def close(self, actual: Tensor, expected: Tensor, law: str, slack: float = 1.0) -> None:
        _assert_close(actual, expected, self.tol * slack, law)

    def values(self) -> None:
        operator, x, rate = self.operator, self.x, self.rate
        for kernel in (self.heat, self.rational):
            self.close(operator.apply(kernel, x), self.exact(kernel), "f(L) x = U f(Λ) Uᵀ x")
        parts = zip(self.laplacians, rate, x.split(self.sizes), strict=True)
        pieces = [torch.linalg.matrix_exp(-s * lap) @ x_g for lap, s, x_g in parts]
        per_graph = operator.apply(lambda lam: torch.exp(-rate * lam), x)
        self.close(per_graph, torch.cat(pieces), "a parameter per graph [num_graphs, 1] broadcasts against λ")
        channel = torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
        self.close(
            operator.apply(lambda lam: torch.exp(-channel * lam.unsqueeze(-1)), x),
            torch.cat([operator.apply(spectral_heat(float(s)), x[:, [c]]) for c, s in enumerate(channel)], 1),
            "a response per channel [num_graphs, M, C]",
        )
        self.close(operator.apply(torch.ones_like, x), x, "f = 1 is the identity")

    def combinations(self) -> None:
        operator, x, heat, rational = self.operator, self.x, self.heat, self.rational
        self.close(
            operator.apply(lambda lam: heat(lam) * rational(lam), x),
            operator.apply(heat, operator.apply(rational, x)),
            "f·g is f after g",
        )
        w, v = operator.to_work(x), operator.to_work(self.other)
        self.close(operator.from_work(w), x, "from_work inverts to_work")
        self.close(
            operator.from_work(operator.combine((heat, w), (rational, v))),
            operator.apply(heat, x) + operator.apply(rational, self.other),
            "combine adds f(L) x + g(L) y",
        )
        for kernel, y in zip((rational, heat), operator.apply_many([rational, heat], x), strict=True):
            self.close(y, self.exact(kernel), "apply_many is apply, kernel by kernel")
        squares = torch.stack([piece.square().sum() for piece in x.split(self.sizes)])
        self.close(operator.square_sum(w), squares, "Parseval: working coordinates keep the length of a signal")
        for padded, piece in zip(operator.pack(x), x.split(self.sizes), strict=True):
            self.close(padded[: len(piece)], piece, "pack puts each graph in a row of its own")
            assert not padded[len(piece) :].any(), "pack fills up with zeros"

    def null_space(self) -> None:
        operator, x = self.operator, self.x
        if not operator.constant_null:
            return
        one = torch.ones(len(x), 1, dtype=torch.float64)
        self.close(operator.apply(lambda lam: lam, one), 0 * one, "L 1 = 0", slack=10)
        self.close(operator.apply(self.rational, one), 2 * one, "f(L) 1 = f(0) 1")
        centered = torch.cat([piece - piece.mean(0) for piece in x.split(self.sizes)])
        found = operator.from_work(operator.center(operator.to_work(x)))
        self.close(found, centered, "center takes each graph's mean away")

    def inverses(self) -> None:
        operator, x = self.operator, self.x

        def affine(lam: Tensor) -> Tensor:
            return self.rate * lam + 0.2

        self.close(operator.solve(self.rational, operator.apply(self.rational, x)), x, "solve inverts apply")
        self.close(operator.solve(affine, operator.apply(affine, x)), x, "solve inverts γL + λ₀")

    def gradients(self, order: int) -> None:
        operator, x = self.operator, self.x.clone().requires_grad_()
        s = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

        def filtered(x: Tensor, s: Tensor) -> tuple[Tensor, ...]:
            parts = operator.apply_many([lambda lam: torch.exp(-s * lam) / (1 + s * lam), lambda lam: s * lam], x)
            w = operator.to_work(x)
            return (*parts, operator.from_work(operator.combine((spectral_heat(s), w), (lambda lam: s + lam, w.sin()))))

        def solved(x: Tensor, s: Tensor) -> Tensor:
            return operator.solve(lambda lam: s * lam + s**2, x)

        torch.autograd.gradcheck(filtered, (x, s), fast_mode=True)
        if order > 1:
            torch.autograd.gradgradcheck(filtered, (x, s), fast_mode=True)
        torch.autograd.gradcheck(solved, (x, s), fast_mode=True)
        torch.autograd.gradgradcheck(solved, (x, s), fast_mode=True)

    def eigenbasis(self) -> None:
        operator = self.operator
        if not isinstance(operator, ExactOperator):
            return
        modes, sizes = operator.to_modes(self.x), torch.tensor(self.sizes, device=self.x.device)
        assert bool((operator.mode_mask.sum(1) == sizes).all()), "N modes for N nodes"
        assert bool((modes[~operator.mode_mask] == 0).all()), "modes that do not exist must be exactly 0"
        assert bool(torch.isfinite(operator.eigenvalues).all() & (operator.eigenvalues >= 0).all()), "0 <= λ < ∞"

    def batches(self, build: Callable[[Sequence[Tensor]], LaplacianOperator]) -> None:
        operator, x, heat = self.operator, self.x, self.heat
        if len(self.sizes) > 1:
            pieces = zip(self.laplacians, x.split(self.sizes), strict=True)
            loop = [build([lap]).apply(heat, piece) for lap, piece in pieces]
            self.close(operator.apply(heat, x), torch.cat(loop), "a batch equals the loop over its graphs")
        orders = [torch.randperm(n, generator=self.generator) for n in self.sizes]
        flat = torch.cat([order + start for order, start in zip(orders, [0, *accumulate(self.sizes)], strict=False)])
        permuted = build([lap[order][:, order] for lap, order in zip(self.laplacians, orders, strict=True)])
        self.close(permuted.apply(heat, x[flat]), operator.apply(heat, x)[flat], "f(PLPᵀ) P x = P f(L) x")


def assert_operator(
    operator: LaplacianOperator,
    laplacians: Sequence[Tensor],
    build: Callable[[Sequence[Tensor]], LaplacianOperator] | None = None,
    tol: float = 1e-9,
    gradients: int = 2,
    seed: int = 0,
) -> None:
    """The laws of f(L) x = U f(Λ) Uᵀ x; every backend runs them.

    Values, a parameter per graph, a response per channel, f = 1, products, sums and several kernels at once, L 1 = 0 with
    f(0) preserved, `solve`, working coordinates, gradients in x and in the kernel's parameters; with `build` also batch =
    loop and permutation equivariance; for an `ExactOperator` also its eigenbasis.

    Args:
        operator: a float64 operator over a batch of graphs.
        laplacians: its Laplacians, `[N_g, N_g]` each, float64.
        build: makes an operator of the same backend from a list of Laplacians.
        tol: absolute and relative tolerance; what an approximate backend states.
        gradients: how many derivatives to check, 0, 1 or 2 (slow where there are many nodes).
        seed: of the random signals.
    """
    laws = _Laws(operator, laplacians, tol, seed)
    assert operator.num_graphs == len(laplacians) and operator.sizes.tolist() == laws.sizes
    assert operator.num_nodes == sum(laws.sizes)
    laws.values()
    laws.combinations()
    laws.null_space()
    laws.inverses()
    if gradients and operator.num_nodes:
        laws.gradients(gradients)
    laws.eigenbasis()
    if build is not None:
        laws.batches(build)


def assert_equivariant(
    f: Callable[[Tensor], Tensor], x: Tensor, action: Callable[[Tensor], Tensor], tol: float = 1e-6
) -> None:
    """f(g·x) = g·f(x) for one group action g, such as `lambda x: x @ rotation` or `lambda x: x[permutation]`."""
    _assert_close(f(action(x)), action(f(x)), tol, "f(g·x) = g·f(x)")
