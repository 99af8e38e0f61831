"""Exact targets against the drawn signal: time of a training step, noise left in the target, variance of the gradient.

    python benchmarks/exact_targets.py [STORE.h5 ...] [--weights FILE | --train RECIPE] [--batch 48] [--draws 24] [--quick]

One batch of molecules with ensembles, from prepared stores or `datasets/qm9_ensembles_20.sdf.gz`, and a network that
stays as it is (of whole molecules, or of skeletons). A draw takes a conformer of each molecule, an orientation, a
mirror image where there is no stereocentre, and noise; all targets see the same draws. Targets are cumulative: S_0 as
drawn, then averaged over rotations, mirror images, labels of equivalent atoms, and the ensemble.

- time: forward and backward of one step, with spectra and candidates; processor time, median of ratios within a round;
- noise: E|S_0 - E[S_0|S_t]|²/c_out² per mode and channel, by noise level: what no network can learn of the drawn target;
- variance: tr Cov of the gradient over draws, relative to that with the drawn target.

Noise levels: bins of log τ, and N(-1, 2²) as in training. Prints the tables, writes results/exact_targets.json and .png.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from machine import machine
from torch import Tensor
from torch_geometric.data import Batch
from trained import add_weights, results, weights_of

from pyg_diffusion.chem.prepare import prepare
from pyg_diffusion.chem.skeleton import skeleton
from pyg_diffusion.data import MoleculeStore, laplacian_operator
from pyg_diffusion.data.store import Molecule
from pyg_diffusion.data.symmetry import automorphisms
from pyg_diffusion.denoise import Denoiser
from pyg_diffusion.loss import denoising_losses
from pyg_diffusion.posterior import Candidates
from pyg_diffusion.spectral import DenseOperator
from pyg_diffusion.weights_io import SHIPPED, load_pretrained

HERE = Path(__file__).parent
TARGETS = ("drawn", "rotations", "mirror", "labels", "ensemble")
EDGES = ((-8, -3), (-3, -1), (-1, 0), (0, 1), (1, 3))
BINS = {**{f"{low} to {high}": (low, high) for low, high in EDGES}, "as trained": None}
Draw = tuple[Tensor, Tensor, Tensor]  # S_0, noise, log τ


class Molecules:
    """The batch: how to draw from it, and the candidates of a draw."""

    def __init__(self, molecules: list[Molecule]):
        self.ensembles = [torch.from_numpy(np.stack(m.pos).astype(np.float32)) for m in molecules]
        self.batch = Batch.from_data_list([m.data(0) for m in molecules])
        labels = [automorphisms(m.data(0)) + start for m, start in zip(molecules, self.batch.ptr.tolist(), strict=False)]
        graphs = torch.arange(len(molecules))
        counts = [torch.tensor([len(v) for v in found]) for found in (labels, self.ensembles)]
        self.labels = torch.cat([v.flatten() for v in labels]), graphs.repeat_interleave(counts[0])
        self.rows = torch.cat([v.flatten(0, 1) for v in self.ensembles]), graphs.repeat_interleave(counts[1])
        centres = torch.bincount(self.batch.batch[self.batch.tetra_index[0]], minlength=len(molecules))
        self.mirror = centres == 0

    def draw(self, generator: torch.Generator, bin_: tuple[float, float] | None) -> Draw:
        graphs = self.batch.num_graphs
        chosen = [pos[int(torch.randint(len(pos), (), generator=generator))] for pos in self.ensembles]
        q, r = torch.linalg.qr(torch.randn(graphs, 3, 3, generator=generator))
        turn = q * r.diagonal(dim1=1, dim2=2).sign().unsqueeze(1)  # Haar on O(3)
        sign = torch.where(self.mirror, 1.0, torch.linalg.det(turn).sign())  # a centre that is told stays as it is
        x_0 = torch.einsum("ni,nij->nj", torch.cat(chosen), (turn * sign[:, None, None])[self.batch.batch])
        noise = torch.randn(x_0.shape, generator=generator)
        if bin_ is None:
            log_tau = torch.randn(graphs, 1, generator=generator) * 2 - 1
        else:
            log_tau = bin_[0] + (bin_[1] - bin_[0]) * torch.rand(graphs, 1, generator=generator)
        return x_0, noise, log_tau

    def candidates(self, target: str, operator: DenseOperator, x_0: Tensor) -> Candidates | None:
        averaged = TARGETS[1 : TARGETS.index(target) + 1]
        if not averaged:
            return None
        ensemble = self.rows if "ensemble" in averaged else None
        labels = self.labels if "labels" in averaged else None
        return Candidates.of(operator, x_0, ensemble, labels, self.mirror if "mirror" in averaged else None)


def step(denoiser: Denoiser, molecules: Molecules, draw: Draw, target: str) -> tuple[Tensor, Tensor]:
    """Forward and backward; the losses of each graph against the target and against the drawn S_0."""
    x_0, noise, log_tau = draw
    told, schedule = molecules.batch, denoiser.sde.schedule
    t = schedule.t(log_tau.exp().clamp(schedule.tau_min, schedule.tau_max))
    operator = laplacian_operator(told, DenseOperator.from_laplacian)
    candidates = molecules.candidates(target, operator, x_0)  # type: ignore[arg-type]
    losses = denoising_losses(denoiser, operator, x_0, noise, t, told, stage_weight=0.0, candidates=candidates)
    denoiser.net.zero_grad(set_to_none=True)
    losses.exact.mean().backward()
    return losses.exact.detach(), losses.sampled


def cost(denoiser: Denoiser, molecules: Molecules, rounds: int) -> dict[str, float]:
    """Processor time of a step with each target, in that of a step of the same round with the drawn one."""
    generator = torch.Generator().manual_seed(0)
    times: dict[str, list[float]] = {target: [] for target in TARGETS}
    for _ in range(rounds + 1):  # the first warms up
        draw = molecules.draw(generator, None)
        for target in TARGETS:
            start = time.process_time()
            step(denoiser, molecules, draw, target)
            times[target].append(time.process_time() - start)
    return {k: statistics.median(a / b for a, b in zip(v[1:], times["drawn"][1:], strict=True)) for k, v in times.items()}


def spread(denoiser: Denoiser, molecules: Molecules, bin_: tuple[float, float] | None, draws: int) -> dict[str, dict]:
    """Of each target: tr Cov of the gradient over draws, and the noise that it takes from the drawn one."""
    generator = torch.Generator().manual_seed(1)
    parameters = list(denoiser.net.parameters())
    size = sum(p.numel() for p in parameters)
    sums = {target: torch.zeros(size, dtype=torch.float64) for target in TARGETS}
    squares, noise = dict.fromkeys(TARGETS, 0.0), dict.fromkeys(TARGETS, 0.0)
    for _ in range(draws):
        draw = molecules.draw(generator, bin_)
        for target in TARGETS:
            exact, sampled = step(denoiser, molecules, draw, target)
            gradient = torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in parameters])
            sums[target] += gradient.double()
            squares[target] += float(gradient.double().square().sum())
            noise[target] += float((sampled - exact).mean()) / draws
    variance = {k: (squares[k] - float(sums[k].square().sum()) / draws) / (draws - 1) for k in TARGETS}
    return {k: {"variance": variance[k], "relative": variance[k] / variance["drawn"], "noise": noise[k]} for k in TARGETS}


def plot(levels: dict[str, dict[str, dict]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, key, title in zip(
        axes, ("noise", "relative"), ("noise in the drawn target", "gradient variance"), strict=True
    ):
        for target in TARGETS:
            axis.plot(list(levels), [row[target][key] for row in levels.values()], "o-", label=target)
        axis.set(title=title, xlabel=r"log $\tau$", ylim=(0, None))
        axis.tick_params(axis="x", rotation=30)
        axis.grid(alpha=0.3)
    axes[0].legend(title="averaged, each with those above")
    figure.savefig(path, dpi=150)


def chosen(stores: list[Path], count: int, skeletons: bool) -> list[Molecule]:
    """`count` molecules that have several conformers at one level, at random."""
    opened = [MoleculeStore(path) for path in stores]
    order = np.random.default_rng(0).permutation([(k, m) for k, store in enumerate(opened) for m in range(len(store))])
    found = (opened[k][m] for k, m in order.tolist())
    several = (m for m in found if len(m.pos) > 1 and len(set(m.levels)) <= 1)
    return [skeleton(m).molecule if skeletons else m for m, _ in zip(several, range(count), strict=False)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("stores", nargs="*", type=Path)
    add_weights(parser, quick=False)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--draws", type=int, default=24)
    parser.add_argument("--quick", action="store_true", help="a smaller batch, fewer draws, two bins: a minute")
    parser.add_argument("--out", type=Path, help="results/exact_targets.json if not given")
    args = parser.parse_args()
    weights, args.out = weights_of(args), args.out or results(args) / "exact_targets.json"
    batch, draws, bins = (12, 6, ["0 to 1", "as trained"]) if args.quick else (args.batch, args.draws, list(BINS))
    denoiser, card = load_pretrained(weights.path or SHIPPED)
    with tempfile.TemporaryDirectory() as folder:
        stores = args.stores
        if not stores:
            stores = [Path(folder) / "ensembles.h5"]
            prepare(
                [str(HERE.parent / "datasets" / "qm9_ensembles_20.sdf.gz")], str(stores[0]), level="GFN2-xTB", progress=False
            )
        molecules = Molecules(chosen(stores, batch, card.data.get("hydrogens") == "second"))
    relative = cost(denoiser, molecules, 5 if args.quick else 25)
    graphs, atoms = molecules.batch.num_graphs, molecules.batch.num_nodes
    labels, conformers = len(molecules.labels[1]) / graphs, len(molecules.rows[1]) / graphs
    print(f"{graphs} molecules of {atoms / graphs:.1f} atoms, {labels:.1f} labellings and {conformers:.1f} conformers each")
    for target in TARGETS:
        print(f"{target:>10}: time of a step {relative[target]:.3f}")
    levels = {}
    print(
        f"{'log tau':>10} {'noise':>40} {'gradient variance':>40}\n"
        + 11 * " "
        + 2 * "".join(f"{k:>11}" for k in TARGETS[1:])
    )
    for name in bins:
        row = levels[name] = spread(denoiser, molecules, BINS[name], draws)
        print(f"{name:>10} " + "".join(f"{row[t][key]:11.3f}" for key in ("noise", "relative") for t in TARGETS[1:]))
    plot(levels, args.out.with_suffix(".png"))
    facts = {"molecules": graphs, "atoms": atoms, "draws": draws, "labellings": labels, "conformers": conformers}
    record = {"machine": machine(), "weights": weights.about, **facts, "time": relative, "levels": levels}
    args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
