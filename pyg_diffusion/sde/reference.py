r"""The explicit Euler recursion of the linear process, with dense N×N matrices: for tests and benchmarks only.

    Φ_{n+1} = M Φ_n,   Σ_{n+1} = M Σ_n Mᵀ + βΔ g(L)²,   M = I - ½ βΔ a(L)

It is what the closed forms of `LinearSDE` replace: it converges to them with first order in Δ (`euler_full`), or, keeping
only diagonals in node space, to something else (`euler_diagonal`).
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from .linear import LinearSDE


def _increments(sde: LinearSDE, steps: int, t: float) -> Tensor:
    """βΔ of every step: increments of τ over an even grid of [0, t], the first one counted from τ = 0, `[steps]`."""
    if steps < 1:
        raise ValueError(f"the recursion needs at least 1 step, got {steps}")
    tau = sde.schedule.tau(torch.linspace(0, t, steps + 1, dtype=torch.float64))
    return torch.cat([tau[1:2], tau[1:].diff()])


def _coefficients(laplacian: Tensor, sde: LinearSDE) -> tuple[Tensor, Tensor, Tensor]:
    """(I, a(L), g(L)²) in float64."""
    eye = torch.eye(laplacian.size(0), dtype=torch.float64, device=laplacian.device)
    drift = sde.gamma * laplacian.to_dense().double() + sde.lambda0 * eye
    return eye, drift, eye if sde.noise == "white" else drift


def euler_steps(laplacian: Tensor, sde: LinearSDE, steps: int, t: float = 1.0) -> Iterator[tuple[Tensor, Tensor]]:
    """(Φ_n, Σ_n) for n = 1..steps, `[N, N]` each: all that an explicit system must store to reach any time.

    Args:
        laplacian: L of one graph, `[N, N]`; products with a sparse one cost O(N · edges) in place of O(N³).
        sde: the process.
        steps: number of steps over [0, t]; stable where βΔ a(λ_max) < 4.
        t: end of the recursion.
    """
    phi, drift, diffusion2 = _coefficients(laplacian, sde)
    drift = drift if laplacian.layout == torch.strided else drift.to_sparse_csr()
    sigma = torch.zeros_like(phi)
    for step in _increments(sde, steps, t):
        phi = phi - 0.5 * step * (drift @ phi)
        half = (sigma - 0.5 * step * (drift @ sigma)).mT  # (MΣ)ᵀ = ΣMᵀ
        sigma = half - 0.5 * step * (drift @ half) + step * diffusion2
        yield phi, sigma


def euler_full(laplacian: Tensor, sde: LinearSDE, steps: int, t: float = 1.0) -> tuple[Tensor, Tensor]:
    """(Φ, Σ) at t, `[N, N]` each; error O(1/steps)."""
    *_, last = euler_steps(laplacian, sde, steps, t)
    return last


def euler_diagonal(laplacian: Tensor, sde: LinearSDE, steps: int, t: float = 1.0) -> tuple[Tensor, Tensor]:
    """(diag Φ, diag Σ) at t, `[N]` each, where every step throws away all but the diagonals:

        φ_i ← M_ii φ_i,   σ²_i ← Σ_j M_ij² σ²_j + βΔ (g²)_ii

    What a node hands to its neighbours and gets back is lost, so this does not converge to diag of the exact Φ and Σ.
    """
    eye, drift, diffusion2 = _coefficients(laplacian, sde)
    phi = torch.ones(laplacian.size(0), dtype=torch.float64, device=laplacian.device)
    sigma = torch.zeros_like(phi)
    for step in _increments(sde, steps, t):
        move = eye - 0.5 * step * drift
        phi, sigma = move.diagonal() * phi, move.square() @ sigma + step * diffusion2.diagonal()
    return phi, sigma
