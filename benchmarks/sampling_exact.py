"""Samplers by what they need most of, on laws known exactly: error against network evaluations.

    python benchmarks/sampling_exact.py [--quick] [--out benchmarks/results/sampling_exact]

How evaluations are counted, and what the variants and grids are, stands in `sweeps.py`.

1. gaussian: N(0, q(L)) on a path of 30 nodes under the conformer process, q the spectrum of the shipped card, while the
   denoiser believes in a free chain p = c/λ, right on the lowest modes only; the rest of the exact denoiser is a linear
   network. Samples are affine in the draws, so their law is propagated exactly (mean 0, variance = Σ coefficient²; no Monte
   Carlo). Error: root mean square over modes and channels of std / exact std - 1, both of S at the last time. What the last
   denoising and the start's law add, whatever the sampler, stands below the table.
2. mixture: four Gaussians on a graph of 6 nodes, 2 channels, the exact denoiser; thousands of copies as a batch. Error:
   sliced Wasserstein-2 distance (root mean square over random directions) to fresh exact samples. Floor: the same
   distance between two exact sets of that size, mean and standard deviation over pairs.

Prints the tables and, for 5, 10 and 20 evaluations, the best sampler by each measure; writes OUT.json and OUT.png.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from sweeps import (
    BUDGETS,
    COMPARED,
    JUDGED,
    QUICK_BUDGETS,
    VARIANTS,
    Run,
    best_in_sweep,
    draw_sweep,
    makers,
    number,
    on_grids,
    options,
    show_grids,
    show_sweep,
    show_verdict,
    sweep,
    time_range,
)
from torch import Tensor

from pyg_diffusion import ConformerGenerator
from pyg_diffusion.denoise import Denoiser
from pyg_diffusion.network import Noisy
from pyg_diffusion.nn import NetworkBase
from pyg_diffusion.sample import DDIM, Counted, Exponential, Sampler, optimised_grid, time_grid
from pyg_diffusion.sde import GeometricTime, LinearSDE
from pyg_diffusion.spectral import DenseOperator, PowerSpectrum
from pyg_diffusion.tasks.molecules.generator import TAU_RANGE
from pyg_diffusion.testing import GaussianMixture


class ExactGaussian(NetworkBase):
    """F of the exact denoiser of N(0, q(L)) inside a `Denoiser` that believes in another spectrum."""

    def __init__(self, sde: LinearSDE, spectrum: PowerSpectrum):
        super().__init__()
        self.sde, self.spectrum = sde, spectrum

    def forward(self, noisy: Noisy, operator: DenseOperator, context: Any = None) -> Tensor:
        t = self.sde.schedule.t(noisy.log_tau.exp())
        phi, var = self.sde.mean(t), self.sde.var(t)

        def gain(lam: Tensor) -> Tensor:
            q = self.spectrum(lam)
            return (phi(lam) * q / (phi(lam) ** 2 * q + var(lam)))[..., None] / noisy.c_out(lam)

        return operator.apply(gain, noisy.signal) - operator.apply(lambda lam: 1 / noisy.c_out(lam), noisy.skip)


class UnitDraws:
    """Draw k is 1 in every mode of channel k and 0 elsewhere, so that channel k shows the coefficients of draw k."""

    def __init__(self, operator: DenseOperator, channels: int):
        self.operator, self.channels, self.count = operator, channels, 0

    def __call__(self) -> Tensor:
        modes = torch.zeros(*self.operator.eigenvalues.shape, self.channels, dtype=torch.float64)
        modes[..., self.count] = 1
        self.count += 1
        return self.operator.from_modes(modes)


class Gaussian:
    """The law on a path, the denoiser that believes in another, and the law of S under any sampler."""

    def __init__(self, spectrum: PowerSpectrum, nodes: int):
        one_way = torch.stack([torch.arange(nodes - 1), torch.arange(1, nodes)])
        self.operator = DenseOperator.from_edges(torch.cat([one_way, one_way.flip(0)], 1), nodes)
        self.sde = LinearSDE(GeometricTime(2e-4, 40.0), gamma=1.33)
        self.ends = time_range(self.sde, TAU_RANGE)
        lowest = float(spectrum.log_lambda[0].exp())
        chain = PowerSpectrum.harmonic(1 / (lowest * float(spectrum.log_power[0].exp())), 1e-3, 10.0)
        self.denoiser = Denoiser(ExactGaussian(self.sde, spectrum), self.sde, chain, centered=True)
        self.lam = self.operator.eigenvalues[0, 1:]  # without the translation
        self.q, self.p = spectrum(self.lam), chain(self.lam)
        self.target = self.exact(self.ends[1], self.q)

    def exact(self, t: float, power: Tensor) -> Tensor:
        """Standard deviation of S_t in every mode for data of that power."""
        at = torch.tensor(t, dtype=torch.float64)
        return (self.sde.mean(at)(self.lam) ** 2 * power + self.sde.var(at)(self.lam)).sqrt()

    def std(self, sampler: Sampler, counted: Counted, grid: Tensor) -> Tensor:
        """The same of the sampler's S at the last time."""
        draws = UnitDraws(self.operator, 1 + 2 * (len(grid) - 1))
        *_, last = sampler.iterate(counted, self.operator, grid, draws)
        return last.signal[0, 1:].square().sum(-1).sqrt()

    def measure(self, sampler: Sampler, counted: Counted, grid: Tensor) -> dict[str, float]:
        gap = self.std(sampler, counted, grid) - self.target
        relative = gap / self.target
        return {
            "error": float(relative.square().mean().sqrt()),
            "worst mode": float(relative.abs().max()),
            "error in Å": float(gap.square().mean().sqrt()),
        }

    def added(self) -> dict[str, float]:
        """What the start's law and the last denoising add to the error of a perfect sampler."""
        at_end = torch.tensor(self.ends[1], dtype=torch.float64)
        returned = self.sde.mean(at_end)(self.lam) * self.q / self.target  # std of the last D
        limit = self.exact(self.ends[0], self.p) / self.exact(self.ends[0], self.q) - 1  # the flow keeps this ratio
        return {
            "added by the start, deterministic samplers": float(limit.square().mean().sqrt()),
            "added by the last denoising": float((returned / self.q.sqrt() - 1).square().mean().sqrt()),
        }


def gaussian(spectrum: PowerSpectrum, budgets: Sequence[int], nodes: int, seed: int) -> dict[str, Any]:
    law = Gaussian(spectrum, nodes)
    denoiser, ends = law.denoiser, law.ends
    same = [law.std(sampler, Counted(denoiser), time_grid(9, *ends)) for sampler in (DDIM(0.0), Exponential(1))]
    assert torch.allclose(*same, rtol=1e-10), "DDIM(0) is not Exponential(1)"
    noise = torch.randn(nodes, 64, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    def fitted(steps: int) -> dict[str, Tensor]:
        return {
            f"fitted to exponential{k}": optimised_grid(
                Exponential(k), denoiser, law.operator, steps, noise, None, *ends
            ).double()
            for k in (1, 2)
        }

    return {
        "process": repr(law.sde),
        "tau range": list(TAU_RANGE),
        "nodes": nodes,
        "q/p": [float((law.q / law.p).min()), float((law.q / law.p).max())],
        **law.added(),
        "samplers": sweep(makers(COMPARED), budgets, denoiser, law.measure, ends),
        "variants": sweep(VARIANTS, budgets, denoiser, law.measure, ends),
        "grids": on_grids(("ancestral", "exponential1", "exponential2"), denoiser, law.measure, ends, fitted),
    }


def sliced_wasserstein(x: Tensor, y: Tensor, directions: Tensor) -> float:
    """Sliced Wasserstein-2 distance of two sets of the same size, `[n, D]`."""
    a, b = ((v @ directions).sort(0).values for v in (x, y))
    return float((a - b).square().mean().sqrt())


class Mixture:
    """Four Gaussians on two rings that share a side, in many copies, and exact samples of them."""

    nodes, channels = 6, 2
    weights = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)

    def __init__(self, copies: int, seed: int):
        edges = torch.tensor([[0, 1, 2, 3, 0, 2, 4], [1, 2, 3, 0, 4, 5, 5]])
        one = DenseOperator.from_edges(torch.cat([edges, edges.flip(0)], 1), self.nodes)
        self.copies, self.seed = copies, seed
        self.operator = DenseOperator(
            one.eigenvalues.expand(copies, -1).contiguous(),
            one.eigenvectors.expand(copies, -1, -1).contiguous(),
            torch.full((copies,), self.nodes),
        )
        # λ₀ so that nothing is left of S_0 at the start
        self.sde = LinearSDE(GeometricTime(2e-4, 40.0), gamma=1.33, lambda0=0.5)
        self.generator = torch.Generator().manual_seed(seed)
        size = len(self.weights), self.nodes, self.channels
        self.means = torch.randn(*size, generator=self.generator, dtype=torch.float64)

    @staticmethod
    def power(lam: Tensor) -> Tensor:
        """Of each component."""
        return 0.05 / (0.2 + 0.5 * lam)

    @staticmethod
    def believed(lam: Tensor) -> Tensor:
        """What the preconditioning takes for the power of the whole."""
        return 1 / (0.5 + 0.5 * lam)

    def denoiser(self) -> Denoiser:
        net = GaussianMixture(self.means, self.weights, self.power, self.sde, self.believed)
        return Denoiser(net, self.sde, self.believed)

    def noise(self, generator: torch.Generator) -> Callable[[], Tensor]:
        size = self.copies * self.nodes, self.channels
        return lambda: torch.randn(*size, generator=generator, dtype=torch.float64)

    def exact(self) -> Tensor:
        """`[copies, D]`."""
        which = torch.multinomial(self.weights, self.copies, replacement=True, generator=self.generator)
        drawn = self.operator.apply(lambda lam: self.power(lam).sqrt(), self.noise(self.generator)())
        return drawn.view(self.copies, -1) + self.means[which].view(self.copies, -1)


def mixture(budgets: Sequence[int], copies: int, seed: int, pairs: int = 6) -> dict[str, Any]:
    law = Mixture(copies, seed)
    directions = torch.randn(law.nodes * law.channels, 128, generator=law.generator, dtype=torch.float64)
    directions = directions / directions.norm(dim=0)
    reference = law.exact()
    floor = [sliced_wasserstein(law.exact(), law.exact(), directions) for _ in range(pairs)]

    def measure(sampler: Sampler, counted: Counted, grid: Tensor) -> dict[str, float]:
        noise = law.noise(torch.Generator().manual_seed(seed + 1))
        out = sampler.sample(counted, law.operator, grid, noise).view(copies, -1)
        return {"error": sliced_wasserstein(out, reference, directions)}

    return {
        "process": repr(law.sde),
        "copies": copies,
        "floor": float(np.mean(floor)),
        "floor spread": float(np.std(floor, ddof=1)),
        "floor of this reference": sliced_wasserstein(law.exact(), reference, directions),
        "samplers": sweep(makers(COMPARED), budgets, law.denoiser(), measure, time_range(law.sde, (2e-4, 40.0))),
    }


def show_gaussian(found: dict[str, Any], budgets: Sequence[int]) -> None:
    title = "(1) Gaussian: relative error of the standard deviation, root mean square over modes"
    show_sweep(title, found["samplers"], budgets)
    start = found["added by the start, deterministic samplers"]
    print(f"start's law adds {number(start)} to deterministic samplers;", end=" ")
    print(f"the last denoising at τ = {TAU_RANGE[0]:g} adds {number(found['added by the last denoising'])} to all")
    show_sweep("(1) worst mode", found["samplers"], budgets, "worst mode")
    show_sweep("(1) Exponential(2), what h per mode is worth", found["variants"], budgets)
    show_grids("(1) grids", found["grids"], ["error", "error in Å"])


def show_mixture(found: dict[str, Any], budgets: Sequence[int]) -> None:
    show_sweep("(2) mixture: sliced Wasserstein-2 to exact samples", found["samplers"], budgets)
    print(f"floor {found['floor']:.4f} ± {found['floor spread']:.4f} over pairs of exact sets;", end=" ")
    print(f"a fresh set to this reference {found['floor of this reference']:.4f}")


def main() -> None:
    parser = options(__doc__ or "", "sampling_exact")
    parser.add_argument("--copies", type=int, default=8192, help="of the mixture's graph")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    run, budgets = Run(args), QUICK_BUDGETS if args.quick else BUDGETS
    spectrum = ConformerGenerator.from_pretrained(args.weights, device="cpu", confidence=False).denoiser.spectrum
    assert isinstance(spectrum, PowerSpectrum)
    first = gaussian(spectrum, budgets, 30, args.seed)
    show_gaussian(first, budgets)
    run.stamp("gaussian")
    second = mixture(budgets, 256 if args.quick else args.copies, args.seed)
    show_mixture(second, budgets)
    run.stamp("mixture")
    verdict = {
        str(budget): {
            "gaussian": best_in_sweep(first["samplers"], budget),
            "mixture": best_in_sweep(second["samplers"], budget, slack=2 * second["floor spread"]),
        }
        for budget in ((5,) if args.quick else JUDGED)
    }
    show_verdict(verdict)
    figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    draw_sweep(axes[0], first, "error", "Gaussian, exact", "relative error of the std")
    draw_sweep(axes[1], second, "error", "mixture", "sliced Wasserstein-2")
    axes[0].legend(fontsize=7)
    figure.savefig(run.write(gaussian=first, mixture=second, verdict=verdict), dpi=110)


if __name__ == "__main__":
    main()
