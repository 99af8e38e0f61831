"""Matrix inversion by descending learned energy landscapes, and whether mined negatives help.

    python benchmarks/matrix_inversion.py --runs runs/inversion --data runs/inversion [--train configs/q005.yaml] [--quick]

A = 2 X Xᵀ + c I, X ~ U(-1, 1)^{n×n}; MSE per entry of A⁻¹ on fixed stored test sets of 500 matrices, c = 0.5 (same) and
0.1 (harder). Everything is trained at c = 0.5 alone, on new matrices at every step. Rows: what needs no network (fitted
functions of A, whose coefficients are learned from 2000 training matrices; conjugate gradients), IRED's published figures,
and `EnergyNet`s that descend their own landscapes from noise. "hybrid" is handed A Y - I, the others are not.

The ablation trains {graph network, MLP} with {none, random, published, adversarial, calibrated} negatives. Runs of a seed
begin with the same weights and see the same matrices and noise; the paired test is Student's t on log MSE over seeds. Beside
it stand the shares of false negatives that each miner makes on the exact energy ½ ‖S_t - φ A⁻¹‖²/σ, by noise level.
Trained networks are kept in `--runs` and not trained again. Prints tables, writes results/matrix_inversion.json and .png.
"""

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from machine import machine
from matrix_inversion_tables import plot, show, show_mining
from scipy.stats import ttest_1samp
from torch import Tensor
from trained import add_weights, results, weights_of

from pyg_diffusion.datasets.matrix_inverse import MatrixInverse, inverse_pairs
from pyg_diffusion.denoise import Denoiser
from pyg_diffusion.loss import denoising_loss
from pyg_diffusion.mining import MINERS, miners_of
from pyg_diffusion.nn.base import NetworkBase
from pyg_diffusion.nn.energy_net import EnergyNet
from pyg_diffusion.nn.matrix_net import MatrixMLP, MatrixNet
from pyg_diffusion.sample.landscape import LandscapeDescent
from pyg_diffusion.sde import GeometricTime, LinearSDE
from pyg_diffusion.spectral import GridOperator, PowerSpectrum
from pyg_diffusion.weights_io import load_pretrained

C_SAME, C_HARDER = 0.5, 0.1
PUBLISHED = {  # Du, Mao and Tenenbaum 2024, their test matrices
    "feed-forward, published": (0.0112, 0.2150),
    "diffusion, published": (0.0115, 0.2132),
    "IREM, published": (0.0108, 0.2083),
    "IRED, published": (0.0095, 0.2063),
}
DELTA = 0.01  # ε-loss below which a time counts as solved
MINING_WEIGHT = 0.1
BINS = ((0, 1e-3), (1e-3, 1e-2), (1e-2, 0.1), (0.1, 0.5), (0.5, 1))  # σ


@dataclass(frozen=True)
class Run:
    """One training: which network, negatives, seed and size."""

    net: str = "graph"
    miner: str = "none"
    seed: int = 0
    steps: int = 6000
    n: int = 20
    batch: int = 32

    @property
    def name(self) -> str:
        return f"{self.net}-{self.miner}-n{self.n}-{self.steps}x{self.batch}-seed{self.seed}"


def rook(n: int, copies: int) -> GridOperator:
    return GridOperator((n, n), "complete", num_graphs=copies)


def spectrum(n: int) -> PowerSpectrum:
    """p(λ) of inverses at c = 0.5."""
    operator = rook(n, 500)
    x = torch.rand(500, n, n, generator=torch.Generator().manual_seed(0)) * 2 - 1
    modes = operator.to_modes(inverse_pairs(x, C_SAME)[1].float().reshape(-1, 1))[:, 1:]
    return PowerSpectrum.fit(operator.eigenvalues[:, 1:].flatten(), modes.square().flatten())


def untrained(run: Run) -> Denoiser:
    torch.manual_seed(run.seed)
    nets = {"graph": MatrixNet, "hybrid": lambda: MatrixNet(residual=True), "mlp": lambda: MatrixMLP(run.n)}
    sde = LinearSDE(GeometricTime(2e-8, 3.0), gamma=0.0, lambda0=1.0, noise="matched")
    return Denoiser(EnergyNet(nets[run.net]()), sde, spectrum(run.n))


def train(run: Run, folder: Path) -> tuple[Denoiser, dict]:
    """The trained denoiser and what its training showed; read back where it was trained before."""
    denoiser, path = untrained(run), folder / f"{run.name}.pt"
    if path.is_file():
        stored = torch.load(path, weights_only=True)
        denoiser.load_state_dict(stored["weights"])
        return denoiser, stored["record"]
    rate = 1e-3 if run.net == "mlp" else 5e-3
    optimizer = torch.optim.Adam(denoiser.parameters(), rate, betas=(0.9, 0.99))
    miner, operator, net = MINERS[run.miner](), rook(run.n, run.batch), denoiser.net
    logs: list[dict] = []
    start = time.perf_counter()
    for step in range(run.steps):
        generator = torch.Generator().manual_seed(run.seed * 10_000_019 + step)
        x = torch.rand(run.batch, run.n, run.n, generator=generator) * 2 - 1
        a, inverse = (m.float().reshape(-1, 1) for m in inverse_pairs(x, C_SAME))
        t = torch.rand(run.batch, 1, generator=generator)
        noise = torch.randn(inverse.shape, generator=generator)
        code = net.encode(a, operator)
        # Exact noise can be known here, and the loss spans decades: its logarithm lets every time and matrix count alike.
        loss = (denoising_loss(denoiser, operator, inverse, noise, t, code, objectives={"eps": 1.0}) + DELTA).log().mean()
        if run.miner != "none":
            mined = miner(denoiser, operator, inverse, noise, t, code, generator)
            loss = loss + MINING_WEIGHT * mined.loss.log1p().mean()
            logs.append(mined.log())
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 200) * max(0.5 * (1 + math.cos(math.pi * step / run.steps)), 1e-3)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(denoiser.parameters(), 1.0)
        optimizer.step()
    seconds = time.perf_counter() - start
    late = logs[len(logs) // 2 :]
    record = {
        "seconds": seconds,
        "ms_per_step": 1e3 * seconds / run.steps,
        "parameters": sum(p.numel() for p in denoiser.parameters()),
        "mining": {k: float(np.mean([log[k] for log in late])) for k in late[0]} if late else {},
    }
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"weights": denoiser.state_dict(), "record": record}, path)
    print(f"{run.name}: {seconds:.0f} s", flush=True)
    return denoiser, record


def descend(denoiser: Denoiser, a: Tensor, landscapes: int = 10, steps: int = 4, seed: int = 0) -> tuple[Tensor, float]:
    """(estimates of A⁻¹, share of accepted steps)."""
    operator, generator = rook(a.size(1), len(a)), torch.Generator().manual_seed(seed)
    accepted, last = [], None
    descent, grid = LandscapeDescent(steps), torch.linspace(1, 0, landscapes)
    noise = torch.randn(operator.num_nodes, 1, generator=generator)
    for last in descent.iterate(denoiser, operator, grid, lambda: noise, a.reshape(-1, 1)):
        accepted.append(float(last.accepted.float().mean()))
    out = operator.solve(denoiser.sde.mean(last.t), last.signal)
    return out.view_as(a), float(np.mean(accepted))


def mse(estimate: Tensor, inverse: Tensor) -> float:
    return float((estimate - inverse).square().mean())


Tests = dict[str, tuple[Tensor, Tensor]]


def scores(denoiser: Denoiser, tests: Tests, landscapes: int = 10, steps: int = 4) -> dict[str, float]:
    out = {}
    for name, (a, inverse) in tests.items():
        start = time.perf_counter()
        estimate, out[f"{name}_accepted"] = descend(denoiser, a, landscapes, steps)
        out[f"{name}_ms_per_matrix"] = 1e3 * (time.perf_counter() - start) / len(a)
        out[name] = mse(estimate, inverse)
    return out


class Schulz(NetworkBase):
    """x ← x (α - β a x), layer by layer, on an eigenvalue a of A; x starts at c₀ + c₁ a. α = 2, β = 1 is Schulz's."""

    def __init__(self, top: float):
        super().__init__()
        self.top = top
        self.start = torch.nn.Parameter(torch.tensor([6.0, -6.0], dtype=torch.float64))
        self.layers = torch.nn.ParameterList()

    def deepen(self) -> None:
        self.layers.append(torch.nn.Parameter(torch.tensor([2.0, 1.0], dtype=torch.float64)))

    def forward(self, lam: Tensor) -> Tensor:
        a = lam / self.top
        x = self.start[0] + self.start[1] * a
        for layer in self.layers:
            x = x * (layer[0] - layer[1] * a * x)
        return x / self.top


def functions_of_a(tests: Tests, n: int) -> dict[str, tuple[float, float]]:
    """Fitted f(A): the error of f(A) is that of f on the eigenvalues, over n² entries."""
    x = torch.rand(2000, n, n, generator=torch.Generator().manual_seed(1)) * 2 - 1
    a, inverse = inverse_pairs(x, C_SAME)
    lam, test_lam = torch.linalg.eigvalsh(a), {k: torch.linalg.eigvalsh(v[0].double()) for k, v in tests.items()}
    rows = {"zero": tuple(mse(torch.zeros_like(y), y) for _, y in tests.values())}
    rows["mean inverse"] = tuple(mse(inverse.mean(0).float(), y) for _, y in tests.values())

    def score(f) -> tuple[float, ...]:
        with torch.no_grad():
            return tuple(float((f(v) - 1 / v).square().sum(1).mean() / n**2) for v in test_lam.values())

    top, some = float(lam.max()), lam[::10]
    for degree in (1, 4, 8, 16):

        def basis(v: Tensor, degree=degree) -> Tensor:
            return torch.cos(torch.arange(degree + 1) * torch.acos((2 * v / top - 1).clamp(-1, 1))[..., None])

        weights = torch.linalg.lstsq(basis(lam.flatten()), (1 / lam).flatten()[:, None], driver="gelsd").solution[:, 0]
        name = "affine map c₀ I + c₁ A" if degree == 1 else f"polynomial in A, degree {degree}"
        rows[name] = score(lambda v, w=weights, basis=basis: basis(v) @ w)
    net = Schulz(top)
    for layers in range(1, 5):
        net.deepen()  # starts from the fit of one layer less
        for stage in range(8):
            optimizer = torch.optim.Adam(net.parameters(), 3e-2 * 0.5**stage)
            for _ in range(250):
                optimizer.zero_grad()
                loss = (net(some) - 1 / some).square().sum(1).mean().log()
                loss.backward()
                optimizer.step()
        rows[f"learned Schulz iteration, {layers} layers"] = score(net)
    for steps in (8, 20):
        rows[f"CG, {steps} steps (not ours)"] = tuple(mse(cg(a.double(), steps).float(), y) for a, y in tests.values())
    return rows


def cg(a: Tensor, steps: int) -> Tensor:
    """Conjugate gradients for A Y = I, every column on its own."""
    y = torch.zeros_like(a)
    r = torch.eye(a.size(1), dtype=a.dtype).expand_as(a)
    p, square = r, r.square().sum(1, keepdim=True)
    for _ in range(steps):
        ap = a @ p
        alpha = square / (p * ap).sum(1, keepdim=True).clamp_min(1e-300)
        y, r = y + alpha * p, r - alpha * ap
        new = r.square().sum(1, keepdim=True)
        p, square = r + new / square.clamp_min(1e-300) * p, new
    return y


class ExactFeatures(NetworkBase):
    """σ^{-1/2} (S_t - φ S_0), given S_0 as context: E is the energy that training aims at."""

    def __init__(self, sde: LinearSDE):
        super().__init__()
        self.sde = sde

    def forward(self, noisy, operator, context) -> Tensor:
        t = self.sde.schedule.t(noisy.log_tau.exp())
        gap = noisy.signal - operator.apply(self.sde.mean(t), context)
        return operator.apply(lambda lam: self.sde.std(t)(lam).rsqrt(), gap)


def on_exact_energy(n: int, copies: int = 256) -> dict[str, dict[str, float]]:
    """Share of false negatives that each miner makes on the exact energy, all times mixed in a batch, by σ."""
    sde, operator = untrained(Run(n=n)).sde, rook(n, copies)
    denoiser = Denoiser(EnergyNet(ExactFeatures(sde)), sde, spectrum(n))
    generator = torch.Generator().manual_seed(0)
    inverse = inverse_pairs(torch.rand(copies, n, n, generator=generator) * 2 - 1)[1].float().reshape(-1, 1)
    t, noise = torch.rand(copies, 1, generator=generator), torch.randn(inverse.shape, generator=generator)
    sigma = sde.std(t)(torch.zeros(copies, 1))[:, 0]
    out = {}
    for name in miners_of():
        if name != "none":
            mined = MINERS[name]()(denoiser, operator, inverse, noise, t, inverse, generator)
            bad = (mined.true_gap <= 0) & mined.kept
            bins = {f"{low:g}-{high:g}": (sigma >= low) & (sigma < high) for low, high in BINS}
            out[name] = {
                k: float((bad & where).sum() / (mined.kept & where).sum().clamp_min(1)) for k, where in bins.items()
            }
    return out


def ablation(args: argparse.Namespace, tests: Tests) -> list[dict]:
    rows = []
    for net in ("graph", "mlp"):
        base: dict[str, np.ndarray] = {}
        for miner in miners_of():
            steps = args.ablation_steps if net == "graph" else args.mlp_steps
            done = [train(Run(net, miner, seed, steps), args.runs) for seed in range(args.seeds)]
            row: dict = {"net": net, "miner": miner, "steps": steps}
            row["ms_per_step"] = float(np.mean([r["ms_per_step"] for _, r in done]))
            row["mining"] = {k: float(np.mean([r["mining"][k] for _, r in done])) for k in done[0][1]["mining"]}
            for landscapes in (10, 20, 40):
                scored = [scores(denoiser, tests, landscapes, 1) for denoiser, _ in done]
                row[f"landscapes_{landscapes}"] = {k: [r[k] for r in scored] for k in tests}
            scored = [scores(denoiser, tests) for denoiser, _ in done]
            for key in tests:
                row[key] = [r[key] for r in scored]
                logs = np.log(row[key])
                base.setdefault(key, logs)
                change = logs - base[key]
                row[f"{key}_ratio"] = float(np.exp(change.mean()))
                row[f"{key}_p"] = float(ttest_1samp(change, 0).pvalue) if miner != "none" and len(change) > 1 else None
            rows.append(row)
    return rows


def stored(args: argparse.Namespace, n: int) -> Tests:
    """The test sets of n x n matrices; with `--quick` a few of each."""
    sets = {k: MatrixInverse(args.data, n, c, 500, split="test") for k, c in (("same", C_SAME), ("harder", C_HARDER))}
    count = 5 if args.quick else 500
    return {name: (data.matrices[:count], data.inverses[:count]) for name, data in sets.items()}


def by_steps(denoisers: list[Denoiser], tests: Tests) -> list[dict]:
    """How many landscapes and steps the descent needs: medians over seeds."""
    steps = []
    for landscapes, each in ((10, 1), (20, 1), (40, 1), (10, 4), (10, 10), (10, 40)):
        scored = [scores(denoiser, tests, landscapes, each) for denoiser in denoisers]
        medians = {k: float(np.median([r[k] for r in scored])) for k in scored[0]}
        steps.append({"landscapes": landscapes, "steps": each, **medians})
        cells = f"{medians['same']:.1e} {medians['harder']:.1e}, {medians['same_ms_per_matrix']:.2f} ms a matrix"
        print(f"{landscapes:>3} landscapes x {each:>2} steps: {cells}")
    return steps


def by_size(args: argparse.Namespace, full: Denoiser) -> list[dict]:
    """Other sizes of matrices, by networks trained at that size and by the one trained at n = 20 in `full`."""
    sizes = []
    for n in (10, 20, 40):
        own = train(Run(n=n, steps=args.size_steps, batch=32 if n <= 20 else 8), args.runs)[0]
        for trained, denoiser, steps in ((n, own, args.size_steps), (20, full, args.steps)):
            result = scores(denoiser, stored(args, n))
            sizes.append({"trained_n": trained, "steps": steps, "n": n, **result})
            cells = f"{result['same']:.1e} {result['harder']:.1e}"
            print(f"trained at n = {trained:>2} ({steps} steps), tested at {n:>2}: {cells}")
    return sizes


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_weights(parser)
    parser.add_argument("--runs", type=Path, default=Path("runs/inversion"), help="where trained networks are kept")
    parser.add_argument("--data", type=Path, default=Path("runs/inversion"), help="where the test sets are stored")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--ablation-steps", type=int, default=3000, help="of the graph network in the ablation")
    parser.add_argument("--mlp-steps", type=int, default=600, help="of the MLP, which stays at the mean inverse")
    parser.add_argument("--size-steps", type=int, default=750, help="of the networks trained at n = 10 and 40")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="results/matrix_inversion.json if not given")
    args = parser.parse_args()
    args.out = args.out or results(args) / "matrix_inversion.json"
    if args.quick:
        args.steps, args.ablation_steps, args.mlp_steps, args.size_steps, args.seeds = 20, 6, 6, 6, 2
    tests = stored(args, 20)
    rows: dict[str, tuple] = {**functions_of_a(tests, 20), **PUBLISHED}
    ours = [train(Run(seed=seed, steps=args.steps), args.runs) for seed in range(args.seeds)]
    hybrid = [train(Run("hybrid", steps=args.steps // 2), args.runs)]
    seeds = {}
    for name, runs in (("ours: energy, 10 x 4 steps", ours), ("ours, hybrid with A Y - I, 10 x 4 steps", hybrid)):
        scored = [scores(denoiser, tests) for denoiser, _ in runs]
        seeds[name] = {"results": scored, "training": [r for _, r in runs]}
        rows[name] = tuple(float(np.median([r[k] for r in scored])) for k in tests)
    record: dict = {"machine": machine(), "rows": rows, "seeds": seeds}
    if args.weights or args.train:
        weights = weights_of(args)
        record["weights"], result = weights.about, scores(load_pretrained(weights.path)[0], tests)
        rows[f"weights of {Path(args.weights or args.train).stem}"] = tuple(result[k] for k in tests)
    show(rows, seeds, tests)
    record["steps"] = by_steps([denoiser for denoiser, _ in ours], tests)
    record["sizes"] = by_size(args, ours[0][0])
    record["mining"] = ablation(args, tests)
    record["false_negatives_on_exact_energy"] = on_exact_energy(20)
    show_mining(record["mining"], record["false_negatives_on_exact_energy"], tests)
    plot(record, args.out.with_suffix(".png"))
    args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
