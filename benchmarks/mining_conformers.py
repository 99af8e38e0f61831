"""What negatives are worth to an energy of conformers: does it rank them as quantum chemistry does, and pick better draws?

    python benchmarks/mining_conformers.py STORE.h5 [STORE.h5 ...] --minutes 30 --seeds 2

The energy network of configs/molecules_energy.yaml is trained for the same minutes of a core with each miner and seed,
on the stores less `--molecules` molecules of four conformers or more.

- rank correlation: Spearman's, of the learned energy of a held-out molecule's conformers with their GFN2-xTB energies
  (single points), mean over molecules. E is that at noise τ = `--tau`, the mean over 8 draws of ε that conformers share;
- AMR-P: of 2K draws for K references (ancestral, 16 evaluations); of the half of them that the learned energy puts lowest;
  of the half that GFN2-xTB does, which is what perfect ranking would bring; of a half at random. Each with as many missing
  conformers as were not made, at 1.5 Å.

Works in pieces: what is made is kept, and a training goes on where it was. Prints the table, writes
results/mining_conformers.json and .png. `--quick`: a few steps on the ensembles of the package, to see that it runs.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
import yaml
from held_out import Pieces, trained
from scipy.stats import spearmanr
from torch_geometric.data import Batch

from pyg_diffusion import ConformerGenerator
from pyg_diffusion.chem import molecule_from_mol, with_positions
from pyg_diffusion.chem.relax import energy
from pyg_diffusion.data import Molecule, laplacian_operator
from pyg_diffusion.metrics import Ensemble, evaluate, records_of
from pyg_diffusion.mining import miners_of
from pyg_diffusion.sample import Ancestral
from pyg_diffusion.tasks import TASKS

HERE = Path(__file__).parent
MISSED = 1.5  # Å, for a conformer without a partner
DRAWS = 8  # of ε
RECIPE = yaml.safe_load((HERE.parent / "configs" / "molecules_energy.yaml").read_text())
COLUMNS = ("rank correlation", "AMR-P", "best half", "half by GFN2-xTB", "half at random", "made")


def recipe(miner: str, seed: int, store: Path, args: argparse.Namespace) -> dict[str, Any]:
    """What an energy is trained by."""
    limits = {"max_steps": 20, "max_minutes": 0} if args.quick else {"max_minutes": args.minutes}
    return {
        "data": {"store": [str(store)], "batch_size": RECIPE["data"]["batch_size"]},
        "process": RECIPE["process"],
        "model": {**RECIPE["model"], **({"width": 24, "depth": 1} if args.quick else {})},
        "optimizer": RECIPE["optimizer"],
        "train": {**RECIPE["train"], "max_steps": 10**6, "miner": miner, "seed": seed, "threads": 1, **limits},
    }


@torch.no_grad()
def learned(generator: ConformerGenerator, molecule: Molecule, positions: np.ndarray, tau: float) -> np.ndarray:
    """E of each conformer `[K, N, 3]` of a molecule, the mean over draws of ε."""
    denoiser, count = generator.denoiser, len(positions)
    batch = Batch.from_data_list([molecule.data(conformer=None)] * count)
    operator = laplacian_operator(batch)
    context = denoiser.net.encode(batch, operator)
    x = denoiser.project(operator, operator.to_work(torch.from_numpy(positions.reshape(-1, 3)).float()))
    log_tau = torch.full((count, 1), tau).log()
    parts = denoiser.parts(denoiser.sde.schedule.t(log_tau.exp()))
    noise, total = torch.Generator().manual_seed(0), torch.zeros(count)
    for _ in range(DRAWS):
        eps = torch.randn(len(molecule.z), 3, generator=noise).repeat(count, 1)
        signal = operator.from_work(operator.combine((parts.phi, x), (parts.sigma, operator.to_work(eps))))
        total += denoiser.net.energy(signal, log_tau, operator, context)
    return (total / DRAWS).numpy()


def xtb(mol: Any, positions: np.ndarray) -> np.ndarray:
    """GFN2-xTB energies in kcal/mol, infinite where there is none."""
    placed = with_positions(mol, positions)
    found = [energy(placed, "GFN2-xTB", c.GetId()) for c in placed.GetConformers()]
    return np.array([np.inf if e is None else e for e in found])


def amr_p(ensemble: Ensemble, positions: np.ndarray, expected: int) -> float:
    """Mean distance of draws to their nearest reference, Å."""
    records = list(records_of(with_positions(ensemble.mol, positions), ensemble.name)) if len(positions) else []
    return min(evaluate([ensemble], records, expected=[expected]).molecules[0].amr_p(MISSED), MISSED)


def judged(
    weights: Path, ensembles: Sequence[Ensemble], truth: list[np.ndarray], args: argparse.Namespace
) -> dict[str, Any]:
    """The columns of each molecule."""
    generator = ConformerGenerator.from_pretrained(weights, sampler=Ancestral(), steps=16, device="cpu", confidence=False)
    rows: dict[str, list[float]] = {name: [] for name in COLUMNS}
    rng = np.random.default_rng(0)
    for k, ensemble in enumerate(ensembles):
        molecule = molecule_from_mol(ensemble.mol, ensemble.name, conformers=False)
        references = np.array([c.GetPositions() for c in ensemble.mol.GetConformers()])
        found = spearmanr(learned(generator, molecule, references, args.tau), truth[k]).statistic
        count = 2 if args.quick else ensemble.size
        (made,) = generator.sample([molecule], 2 * count, seed=0, first=k, max_attempts=2 if args.quick else 10)
        pos = made.positions
        orders = {
            "best half": learned(generator, molecule, pos, args.tau) if len(pos) else np.zeros(0),
            "half by GFN2-xTB": xtb(ensemble.mol, pos) if len(pos) else np.zeros(0),
            "half at random": rng.random(len(pos)),
        }
        rows["rank correlation"].append(float(found) if np.isfinite(found) else 0.0)
        rows["AMR-P"].append(amr_p(ensemble, pos, 2 * count))
        rows["made"].append(len(pos) / (2 * count))
        for name, order in orders.items():
            rows[name].append(amr_p(ensemble, pos[np.argsort(order, kind="stable")[:count]], count))
    return {"values": rows}


def show(runs: dict[str, list[dict[str, Any]]]) -> None:
    """Means over molecules of each seed."""
    print(f"\n{'':14}{'seed':>5}" + "".join(f"{c:>18}" for c in COLUMNS))
    for miner, seeds in runs.items():
        for seed, run in enumerate(seeds):
            print(f"{miner:14}{seed:5}" + "".join(f"{np.mean(run['values'][c]):18.3f}" for c in COLUMNS))


def draw(runs: dict[str, list[dict[str, Any]]], target: Path) -> None:
    """Rank correlation, and AMR-P before and after ranking; dots are seeds."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for k, seeds in enumerate(runs.values()):
        axes[0].scatter([k] * len(seeds), [np.mean(r["values"]["rank correlation"]) for r in seeds])
        for j, name in enumerate(COLUMNS[1:5]):
            means = [np.mean(r["values"][name]) for r in seeds]
            axes[1].scatter([k + 0.12 * j] * len(means), means, color=f"C{j}", label=name if k == 0 else None)
    axes[0].set_ylabel("rank correlation with GFN2-xTB")
    axes[1].set_ylabel("AMR-P, Å")
    axes[1].legend(fontsize=7)
    for axis in axes:
        axis.set_xticks(range(len(runs)), list(runs))
        axis.grid(alpha=0.3)
    figure.savefig(target, dpi=110)
    plt.close(figure)


def main() -> None:
    """Make what is not there yet, print, write."""
    pieces = Pieces(__doc__ or "", "mining_conformers", 30.0, 60, ("tau",))
    add, known = pieces.parser.add_argument, miners_of(TASKS["molecules"].has)
    add("--miners", nargs="+", choices=known, default=["none", "random", "adversarial"])
    add("--seeds", type=int, default=2)
    add("--tau", type=float, default=0.01, help="noise level at which energies are compared, Å²")
    args, store, ensembles = pieces.begin(least=4)
    truth = [xtb(e.mol, np.array([c.GetPositions() for c in e.mol.GetConformers()])) for e in ensembles]
    rows = pieces.rows
    for seed in range(1 if args.quick else args.seeds):
        for miner in args.miners:
            done = rows.setdefault(miner, [])
            if len(done) == seed:
                weights = trained(recipe(miner, seed, store, args), args.work / f"{miner}_{seed}")
                done.append(judged(weights, ensembles, truth, args))
                pieces.keep()
                print(f"{miner}, seed {seed}: {np.mean(done[-1]['values']['rank correlation']):.3f}", flush=True)
    show(rows)
    draw(rows, args.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
