"""Which Laplacian of molecules? Weights, normalisation and backend at equal time, and a molecule of 5,000 atoms.

    python benchmarks/laplacians.py [--minutes 15] [--seeds 2] [--rows unit order ...] [--quick]
    python benchmarks/laplacians.py --large [500 100] [--quick]

Every row is trained for `--minutes` by `configs/quick.yaml` (the small conformer network, or `AtomNet`, the network `graph`
on atoms, where the backend has no heat kernels to read) with its own Laplacian, and γ at which conformers are likeliest by
N(0, (γL)⁻¹), so that rows differ in the shape of L and not in its scale. It then makes 2K conformers for K references.
Differences from the first row of the same network are paired by molecule, with their standard error over molecules.
Trainings and rows that are done are kept: the same command goes on.

`--large`: poly-alanine of so many residues, a Gaussian law N(0, p(L)) on it with p = 1/(λ + 1e-5), L weighted by bond
lengths; draws noised and denoised by Chebyshev polynomials, dense beside where it fits. The Wiener denoiser is the exact
one of this law: `error` is the mean square it misses by, `expected` what it must be, tr c_out²(L)/N by random probes (one
draw of `graph`, eight of Wiener). `graph` is `AtomNet` untrained, which gives what Wiener gives, at the cost of a network
of four blocks. Each case in a process of its own; memory is the growth of the peak resident size. Prints tables, writes
results/laplacians.json and .png, or laplacians_large.json.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
import yaml
from conformers import ours, rates
from machine import core_time, machine
from rdkit import Chem
from trained import CONFIGS, DATASETS, QUICK, bundled_store, results, trained

from pyg_diffusion.chem import molecule_from_mol, read_sdf
from pyg_diffusion.data import Molecule
from pyg_diffusion.denoise import Denoiser
from pyg_diffusion.metrics import evaluate, group_records
from pyg_diffusion.nn import AtomNet
from pyg_diffusion.sde import GeometricTime, LinearSDE
from pyg_diffusion.tasks import load_recipe
from pyg_diffusion.tasks.molecules.data import ConformerDataModule
from pyg_diffusion.tasks.molecules.laplacian import MoleculeLaplacian
from pyg_diffusion.testing import ZeroNet
from pyg_diffusion.weights_io import load_pretrained

RUN = "ancestral:16"
GRAPH = ("model.kind=graph", "model.width=96", "model.heads=6")
CONFORMER = ("model.width=128", "model.depths=[2, 2]")
# name -> (network, changes to the recipe)
ROWS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "unit": (CONFORMER, ()),
    "order": (CONFORMER, ("data.weight=order",)),
    "length": (CONFORMER, ("data.weight=length",)),
    "learned": (CONFORMER, ("data.weight=learned",)),
    "normalised": (CONFORMER, ("data.normalized=true",)),
    "spectra cached": (CONFORMER, ("data.spectra=cached",)),
    "graph, dense": (GRAPH, ("train.exact_targets=[]",)),
    "graph, chebyshev": (GRAPH, ("data.backend=chebyshev",)),
    "graph, lowrank 8": (GRAPH, ("data.backend=lowrank", "data.modes=8")),
}
MISSED = 1.5  # Å, for a conformer or reference without a partner
TAUS = (0.01, 1.0, 20.0)
DENSE_ATOMS = 1500
PROBES, DRAWS = 32, 8


def base_recipe(folder: Path) -> Path:
    """`configs/quick.yaml` without its network, which is that of the row."""
    values = yaml.safe_load((CONFIGS / "quick.yaml").read_text())
    del values["model"]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "laplacians.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def likeliest_gamma(recipe_path: Path, changes: tuple[str, ...]) -> float:
    """γ = 3 Σ (modes) / Σ tr XᵀLX over training conformers: where N(0, (γL)⁻¹) makes them likeliest."""
    recipe = load_recipe(recipe_path, list(changes))
    module = recipe.task.datamodule(recipe)
    assert isinstance(module, ConformerDataModule)
    modes, total = 0, 0.0
    for batch in module.batches(2, 1000):
        operator = module.laplacian.dense(batch)
        free = operator.mode_mask & (operator.eigenvalues > 0)
        modes += int(free.sum())
        total += float((operator.eigenvalues[free] * operator.to_modes(batch.pos).square().sum(-1)[free]).sum())
    return 3 * modes / total


def one_row(name: str, seed: int, args: argparse.Namespace, ensembles: list) -> dict[str, Any]:
    """Train and judge one row."""
    network, laplacian = ROWS[name]
    store = bundled_store("store/qm9_3000.h5", Path(args.train_dir) / "stores")
    data = (f"data.store={store}", *laplacian)
    recipe = base_recipe(Path(args.train_dir))
    gamma = likeliest_gamma(recipe, (*data, *network))
    changes = [*data, *network, f"process.gamma={gamma:.4g}", f"train.seed={seed}", f"train.max_minutes={args.minutes}"]
    found = trained(recipe, [*changes, *(QUICK if args.quick else ())], Path(args.train_dir))
    counts = [2 * e.size for e in ensembles]
    records, cost = ours(ensembles, counts, found.path, RUN, seed)
    judged = evaluate(ensembles, records, expected=counts, seed=seed).molecules
    card = load_pretrained(str(found.path))[1]
    return {
        "AMR-R": [min(m.amr_r, MISSED) for m in judged],
        "AMR-P": [min(m.amr_p(MISSED), MISSED) for m in judged],
        "stereo": rates(cost)["stereo right before resampling"],
        "ms per conformer": 1e3 * rates(cost)["seconds per conformer"],
        "steps": card.training["steps"],
        "gamma": gamma,
        "loss": card.metrics.get("val/loss"),
    }


def show(rows: dict[str, list[dict[str, Any]]]) -> None:
    """Means over seeds, and the paired difference from the first row of the same network."""
    print(f"\n{'':18}{'seeds':>6}{'γ':>7}{'steps':>8}{'AMR-R':>20}{'AMR-P':>20}{'stereo':>8}{'ms':>7}")
    for name, runs in rows.items():
        base = next(other for other in rows if ROWS[other][0] == ROWS[name][0])
        cells = []
        for measure in ("AMR-R", "AMR-P"):
            values = np.mean([r[measure] for r in runs], axis=0)
            gap = values - np.mean([r[measure] for r in rows[base][: len(runs)]], axis=0)
            cells.append(f"{values.mean():.3f} {gap.mean():+.3f}±{gap.std(ddof=1) / len(gap) ** 0.5:.3f}")
        gamma, steps, stereo, ms = (np.mean([r[k] for r in runs]) for k in ("gamma", "steps", "stereo", "ms per conformer"))
        print(
            f"{name:18}{len(runs):6}{gamma:7.2f}{steps:8.0f}"
            + "".join(f"{c:>20}" for c in cells)
            + f"{stereo:8.3f}{ms:7.0f}"
        )


def draw(rows: dict[str, list[dict[str, Any]]], target: Path) -> None:
    """AMR of each row; dots are seeds."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 0.4 * len(rows) + 1.4), layout="constrained", sharey=True)
    for axis, measure in zip(axes, ("AMR-R", "AMR-P"), strict=True):
        for k, runs in enumerate(rows.values()):
            means = [np.mean(r[measure]) for r in runs]
            axis.scatter(means, [k] * len(means), s=14, color="#9a9a9a")
            axis.scatter(np.mean(means), k, s=80, color="#c0392b", marker="|", linewidths=3)
        axis.set(xlabel=f"{measure}, Å")
        axis.grid(alpha=0.3)
    axes[0].set_yticks(range(len(rows)), list(rows))
    axes[0].invert_yaxis()
    figure.savefig(target, dpi=110)
    plt.close(figure)


def poly_alanine(residues: int) -> Molecule:
    """With hydrogens, ten atoms a residue."""
    return molecule_from_mol(Chem.AddHs(Chem.MolFromSequence("A" * residues)), conformers=False)


def power(lam: torch.Tensor) -> torch.Tensor:
    """p(λ) of the law on a large molecule: of a free chain, but for the very lowest modes, where a polynomial has to end."""
    return 1 / (lam + 1e-5)


def peak_bytes() -> int:
    """Peak resident size of this process so far (Linux counts in KiB, macOS in bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@torch.no_grad()
def at_scale(residues: int, backend: str, network: str) -> dict[str, Any]:
    """One large molecule noised and denoised, measured."""
    torch.manual_seed(0)
    sde = LinearSDE(GeometricTime(1e-3, 40.0), gamma=1.0)
    net = ZeroNet() if network == "Wiener" else AtomNet(width=64, depth=4, heads=4)
    denoiser = Denoiser(net, sde, power, centered=True).eval()
    laplacian = MoleculeLaplacian.of({"weight": "length", "backend": backend})

    def run(molecule: Molecule, taus: tuple[float, ...]) -> dict[str, Any]:
        data = laplacian.weighed(molecule.data(conformer=None))
        start = time.process_time()
        operator = laplacian.operator(data)
        context, built = net.encode(data, operator), time.process_time() - start
        n, rows = operator.num_nodes, []
        for tau in taus:
            t, clock, errors = sde.schedule.t(torch.tensor([[tau]])), [], []
            for _ in range(DRAWS if network == "Wiener" else 1):
                drawn = operator.combine((lambda lam: power(lam).sqrt(), operator.to_work(torch.randn(n, 3))))
                s_0 = operator.from_work(denoiser.project(operator, drawn))
                clock = [time.process_time()]
                noised = operator.apply(sde.mean(t), s_0) + operator.apply(sde.std(t), torch.randn(n, 3))
                clock.append(time.process_time())
                miss = denoiser(operator, noised, t, context) - s_0
                clock.append(time.process_time())
                errors.append(float((miss - miss.mean(0)).square().mean()))
            probe = operator.combine((denoiser.parts(t).c_out, operator.to_work(torch.randn(n, PROBES))))
            expected = operator.square_sum(denoiser.project(operator, probe)) / (PROBES * n)
            row = {"tau": tau, "noised_s": clock[1] - clock[0], "denoised_s": clock[2] - clock[1]}
            rows.append(row | {"error": float(np.mean(errors)), "expected": float(expected)})
        return {"atoms": n, "set_up_s": built, "times": rows}

    run(poly_alanine(2), TAUS[:1])
    molecule = poly_alanine(residues)
    before = peak_bytes()
    found = run(molecule, TAUS)
    return found | {"peak_bytes": peak_bytes() - before}


def large(args: argparse.Namespace) -> None:
    """The table of large molecules."""
    rows = []
    heads = f"{'atoms':>6} {'backend':>10} {'denoiser':>9} {'set up':>8} {'peak':>8}"
    print(f"{heads} | at τ = {', '.join(map(str, TAUS))}: noised, denoised, error (expected)")
    for residues in args.large:
        for backend, network in (("chebyshev", "Wiener"), ("chebyshev", "graph"), ("dense", "Wiener"), ("dense", "graph")):
            if backend == "dense" and 10 * residues > DENSE_ATOMS:
                continue
            command = [sys.executable, str(Path(__file__).resolve()), "--work", str(residues), backend, network]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            row = json.loads(done.stdout.splitlines()[-1]) | {"residues": residues, "backend": backend, "denoiser": network}
            rows.append(row)
            cells = [
                f"{r['noised_s']:.2f} s {r['denoised_s']:.2f} s {r['error']:.3g} ({r['expected']:.3g})" for r in row["times"]
            ]
            left = (
                f"{row['atoms']:>6} {backend:>10} {network:>9} {row['set_up_s']:>6.2f} s {row['peak_bytes'] / 1e6:>5.0f} MB"
            )
            print(f"{left} | {'; '.join(cells)}", flush=True)
    target = results(args) / "laplacians_large.json"
    target.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    print(target)


def main() -> None:
    """Run what is not in the results yet, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--minutes", type=float, default=15, help="of every training")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--large", type=int, nargs="*", metavar="RESIDUES", help="large molecules instead; 500 and 100")
    parser.add_argument("--train-dir", default="runs/benchmarks", help="where trainings are kept")
    parser.add_argument("--quick", action="store_true", help="tiny sizes and trainings, to see that it runs")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    core_time()
    if args.work:
        print(json.dumps(at_scale(int(args.work[0]), *args.work[1:])))
        return
    if args.large is not None:
        args.large = [20] if args.quick else args.large or [500, 100]
        large(args)
        return
    ensembles, _ = group_records(read_sdf(DATASETS / "qm9_ensembles_20.sdf.gz"))
    ensembles, args.seeds = (ensembles[:2], 1) if args.quick else (ensembles, args.seeds)
    target = results(args) / "laplacians.json"
    options = {"minutes": args.minutes, "run": RUN, "quick": args.quick}
    result: dict[str, Any] = {"machine": machine(), "options": options, "rows": {}}
    if target.is_file() and json.loads(target.read_text())["options"] == options:
        result = json.loads(target.read_text())
    for seed in range(args.seeds):
        for name in args.rows:
            runs = result["rows"].setdefault(name, [])
            if len(runs) == seed:
                runs.append(one_row(name, seed, args, ensembles))
                target.write_text(json.dumps(result, indent=1) + "\n")
                print(f"{name}: AMR-R {np.mean(runs[-1]['AMR-R']):.3f}", flush=True)
    made = {name: result["rows"][name] for name in ROWS if result["rows"].get(name)}
    show(made)
    draw(made, target.with_suffix(".png"))


if __name__ == "__main__":
    main()
