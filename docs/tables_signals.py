"""Tables of fields, matrices and the parts that tasks share: a function each, named as in the pages of docs/results."""

from collections.abc import Mapping, Sequence
from typing import Any

from tables import TABLES, read, rendered, table

ERRORS = ["spectrum", "covariance", "sliced_wasserstein", "marginal_wasserstein", "mmd", "smoothness_wasserstein"]
NAMES = {
    "mean field": "training mean, repeated",
    "copies": "training fields, copied",
    "interpolation": "linear interpolation",
    "uniform": "random uniform",
    "gaussian_iid": "Gaussian, mean and deviation",
    "gaussian_cov": "Gaussian, covariance",
    "diffusion": "**diffusion**",
    "ancestral": "diffusion, ancestral",
    "isotropic": "isotropic diffusion (γ = 0)",
}


def fields_of(case: str) -> str:
    """Errors over those of held-out samples of the law, then two quantities as they are."""
    methods = read("fields")["cases"][case]["methods"]
    floor = methods["held out"]
    rows = []
    for name, found in methods.items():
        row = [NAMES.get(name, name)]
        for key in ERRORS:
            value, spread = (x / floor[key][0] for x in found[key])
            row.append(f"{value:.3g}" + (f" ± {spread:.2f}" if spread and value < 10 else ""))
        ms = found["seconds_per_sample"]
        rows.append([*row, found["mean_mse"][0], found["smoothness"][0], None if ms is None else 1000 * ms])
    head = ["", "spectrum", "covariance", "sliced W₂", "marginal W₂", "MMD", "smoothness W₂", "mean MSE", "‖L S‖²", "ms"]
    return rendered(head, rows, "fields")


COMPARED = {"spectrum": "spectrum", "covariance": "covariance", "sliced_wasserstein": "sliced W₂", "mmd": "MMD"}


def compared(
    file: str, methods: Mapping[str, Mapping[str, Any]], trained: Mapping[str, Mapping[str, Any]], more: Sequence[str]
) -> str:
    """Trainings of equal time: errors over the floor, what else there is, size, steps and ms of a draw."""
    keys, floor = [*COMPARED, "smoothness_wasserstein"], methods["held out"]
    rows = []
    for name, found in methods.items():
        told = trained.get(name, {})
        if name in trained or name in ("held out", "Gaussian prior", "gaussian_cov"):
            errors = [f"{_first(found[key]) / _first(floor[key]):.3g}" for key in keys]
            ms = found.get("seconds", found.get("seconds_per_sample"))
            title = {"diffusion": "**diffusion**", "gaussian_cov": "Gaussian, covariance"}.get(name, name)
            size = [told.get("parameters"), told.get("steps"), _ms(ms)]
            rows.append([title, *errors, *(_first(found.get(key)) for key in more), *size])
    head = ["", *COMPARED.values(), "smoothness W₂", *more, "parameters", "steps", "ms"]
    return rendered(head, rows, file)


def _first(value: Any) -> Any:
    """The mean of (mean, deviation)."""
    return value[0] if isinstance(value, list) else value


@table
def digits_compared() -> str:
    """Digits: trainings of equal time."""
    rows = read("signals")["cases"]["digits"]["rows"]
    trained = {name: row for name, row in rows.items() if "parameters" in row}
    return compared("signals", rows, trained, ["agreement", "frechet"])


for _name, _case in {
    "fields_100": "old",
    "fields_5x5": "5x5",
    "fields_32x32": "32x32",
    "fields_gaussian": "gaussian",
    "fields_16x16x16": "16x16x16",
}.items():
    TABLES[_name] = lambda case=_case: fields_of(case)


@table
def ablation() -> str:
    """One choice at a time, from the best to the worst."""
    variants = sorted(read("ablation")["variants"].items(), key=lambda item: item[1]["score"])
    rows = []
    for name, found in variants:
        spread = found["difference_error"]
        change = f"{found['difference']:+.2f}" + ("" if spread is None else f" ± {spread:.2f}")
        rows.append([name, f"{found['score']:.2f}", change, len(found["runs"])])
    return rendered(["", "error over the floor", "log ratio to the base", "seeds"], rows, "ablation")


@table
def guidance_fields() -> str:
    """Fields that follow an amplitude."""
    rows = [
        [f"w = {w}", r["error"], f"{r['slope']:.2f}", r["spread"]] for w, r in read("guidance_fields")["weights"].items()
    ]
    return rendered(["guidance", "error of the rms", "slope", "scatter over the law's"], rows, "guidance_fields")


# Matrices


@table
def matrices() -> str:
    """MSE per entry on 500 stored matrices each."""
    rows = [[name, *values] for name, values in read("matrix_inversion")["rows"].items()]
    return rendered(["", "same (c = .5)", "harder (c = .1)"], rows, "matrix_inversion")


@table
def matrices_steps() -> str:
    """More steps of descent."""
    rows = [
        [f"{r['landscapes']} x {r['steps']}", r["same"], r["harder"], r["same_ms_per_matrix"]]
        for r in read("matrix_inversion")["steps"]
    ]
    return rendered(["landscapes x steps", "same", "harder", "ms per matrix"], rows, "matrix_inversion")


@table
def matrices_sizes() -> str:
    """Other sizes than were trained."""
    rows = [
        [f"trained at {r['trained_n']}, {r['steps']} steps, n = {r['n']}", r["same"], r["harder"]]
        for r in read("matrix_inversion")["sizes"]
    ]
    return rendered(["", "same", "harder"], rows, "matrix_inversion")


@table
def mining() -> str:
    """Kinds of negatives."""
    rows = []
    for r in read("matrix_inversion")["mining"]:
        same, harder = (sorted(r[key])[len(r[key]) // 2] for key in ("same", "harder"))
        ratios = [r.get("same_ratio"), r.get("harder_ratio")]
        chances = [r.get("same_p"), r.get("harder_p")]
        rows.append([r["net"], r["miner"], same, harder, *ratios, *chances, r["mining"].get("false_negatives")])
    head = ["network", "negatives", "same, median", "harder, median", "ratio", "ratio", "p", "p", "false"]
    return rendered(head, rows, "matrix_inversion")


# Parts


@table
def operators_grid() -> str:
    """f(L)x on grids."""
    rows = [
        [f"{r['grid']}, {r['kind']}", 1e3 * r["seconds"], 1e3 * r["fft_seconds"], _ms(r.get("scipy_seconds")), r["copies"]]
        for r in read("operators")["grid"]
    ]
    head = ["grid", "ms", "its FFTs alone, ms", "scipy `dctn`, ms", "copies of x"]
    return rendered(head, rows, "operators")


@table
def operators_sparse() -> str:
    """exp(-L)x on a million nodes, and its peers."""
    rows = []
    for peers in read("operators")["peers"]:
        for name, found in peers.items():
            if isinstance(found, dict):
                rows.append([peers["graph"], name, found["seconds"], found["error"], found.get("order")])
    return rendered(["graph", "by", "s", "error", "products"], rows, "operators")


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1e3 * seconds


@table
def layers() -> str:
    """Forward and backward, ms and peak MiB."""
    found = read("layers")["rows"]
    graphs = list(dict.fromkeys(r["graphs"] for r in found))
    cells = {(r["layer"], r["graphs"]): r for r in found}
    rows = []
    for layer in dict.fromkeys(r["layer"] for r in found):
        row = [f"`{layer}`"]
        for graph in graphs:
            r = cells[layer, graph]
            ms, peak = r.get("training_s") or r.get("forward_s"), r.get("peak_bytes")
            row.append("-" if ms is None or peak is None else f"{1e3 * ms:.1f} / {peak / 2**20:.0f}")
        rows.append(row)
    return rendered(["layer, ms / MiB", *graphs], rows, "layers")


@table
def precompute() -> str:
    """The explicit recursion against the spectral form."""
    rows = []
    for r in read("precompute")["rows"]:
        a, b = r["explicit"], r["spectral"]
        seconds = [a["seconds"], b["seconds"]]
        rows.append([f"{r['side']} x {r['side']}, {r['dtype']}", *seconds, a["peak_bytes"] / 1e6, b["peak_bytes"] / 1e6])
    return rendered(["grid", "explicit, s", "spectral, s", "explicit, MB", "spectral, MB"], rows, "precompute")


@table
def sampling_exact() -> str:
    """Relative error of the standard deviation of a Gaussian."""
    samplers = read("sampling_exact")["gaussian"]["samplers"]
    budgets = list(next(iter(samplers.values())))
    rows = [[f"`{name}`", *[None if r[n] is None else r[n]["error"] for n in budgets]] for name, r in samplers.items()]
    return rendered(["evaluations", *budgets], rows, "sampling_exact")


@table
def sampling_conformers() -> str:
    """Distance to the exact path of the conformer model."""
    samplers = read("sampling_conformers")["paths"]["samplers"]
    budgets = list(next(iter(samplers.values())))
    rows = [[f"`{name}`", *[None if r[n] is None else r[n]["median"] for n in budgets]] for name, r in samplers.items()]
    return rendered(["median distance, Å; evaluations", *budgets], rows, "sampling_conformers")


@table
def sampling_ensembles() -> str:
    """Samplers on the 20 bundled ensembles."""
    methods = read("sampling_conformers")["ensembles"]["methods"]
    keys = {
        "COV-R(0.1) mean": "COV-R(.1)",
        "COV-P(0.1) mean": "COV-P(.1)",
        "AMR-R all mean": "AMR-R",
        "AMR-P all mean": "AMR-P",
    }
    rows = [[name, *[r[key] for key in keys]] for name, r in methods.items()]
    return rendered(["sampler @ evaluations", *keys.values()], rows, "sampling_conformers")


@table
def node_classification() -> str:
    """Accuracy on communities."""
    rows = []
    for name, r in read("node_classification")["layers"].items():
        values = r["accuracy"]
        mean = sum(values) / len(values)
        spread = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
        rows.append([name, f"{mean:.2f} ± {spread:.2f}", r["seconds"]])
    return rendered(["two layers of", "accuracy", "s"], rows, "node_classification")


@table
def laplacians_large() -> str:
    """A molecule of thousands of atoms."""
    rows = [
        [
            f"{r['atoms']}, {r['backend']}, {r['denoiser']}",
            t["tau"],
            t["noised_s"],
            t["denoised_s"],
            t["error"],
            t["expected"],
        ]
        for r in read("laplacians_large")["rows"]
        for t in r["times"]
    ]
    head = ["atoms, operator, denoiser", "τ", "noising, s", "denoising, s", "error, Å²", "expected"]
    return rendered(head, rows, "laplacians_large")


@table
def startup() -> str:
    """Seconds to start."""
    rows = [[f"`{name}`", r["this"], r["other"]] for name, r in read("startup")["seconds"].items()]
    return rendered(["", "s of processor time", "version 0.6"], rows, "startup")


@table
def coverage() -> str:
    """Lines and branches of each room that the default suite runs."""
    found = read("coverage")
    rows = []
    for name, room in found["rooms"].items():
        shares = [100 * run / every if every else 100.0 for run, every in (room["lines"], room["branches"])]
        floors = found["floors"][name].values()
        rows.append([f"`{name}`", room["lines"][1], f"{shares[0]:.1f}", room["branches"][1], f"{shares[1]:.1f}", *floors])
    head = ["room", "lines", "run, %", "branches", "run, %", "floor of lines", "of branches"]
    return rendered(head, rows, "coverage")
