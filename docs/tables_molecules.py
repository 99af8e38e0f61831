"""Tables of molecules: one function each, named as in the pages of docs/results."""

from collections.abc import Sequence

from tables import number, read, rendered, source, table

METHODS = {
    "ours ancestral:8:oversample=2": "**ours (default)**",
    "ours ancestral:16": "independent, 16 evaluations",
    "ours ancestral:16:diversity=10": "16 evaluations, repelling",
    "ours exponential2:5": "independent, 5 evaluations",
    "ours ancestral:8:MMFF94s:oversample=2": "default, then MMFF94s",
    "+ MMFF94s": "ETKDGv3 + MMFF94s",
    "ETKDGv3, 2x": "ETKDGv3, 2x drawn",
    "+ MMFF94s, 2x": "ETKDGv3 + MMFF94s, 2x drawn",
    "ETKDGv3 + MMFF94s(eps=4)": "ETKDGv3 + MMFF94s (ε = 4)",
}
MEASURES = {  # key -> (how it is called, digits behind the point, factor)
    "COV-R(0.05) mean": ("COV-R at .05 Å", 3, 1),
    "COV-P(0.05) mean": ("COV-P at .05 Å", 3, 1),
    "COV-R(0.1) mean": ("COV-R at .1 Å", 3, 1),
    "COV-P(0.1) mean": ("COV-P at .1 Å", 3, 1),
    "COV-R(0.5) mean": ("COV-R at .5 Å", 3, 1),
    "COV-P(0.5) mean": ("COV-P at .5 Å", 3, 1),
    "COV-R(0.75) mean": ("COV-R at .75 Å", 3, 1),
    "best of 50 median": ("best of 50, median, Å", 3, 1),
    "best of 50 mean all": ("best of 50, mean, Å", 3, 1),
    "best of 50 < 0.5": ("best of 50 below .5 Å", 3, 1),
    "best of 50 < 1": ("best of 50 below 1 Å", 3, 1),
    "best of 50 < 2": ("best of 50 below 2 Å", 3, 1),
    "best of 10 median": ("best of 10, median, Å", 3, 1),
    "AMR-R all mean": ("AMR-R, all, Å", 3, 1),
    "AMR-P all mean": ("AMR-P, all, Å", 3, 1),
    "bond MAE": ("bond lengths, mean error, Å", 4, 1),
    "angle MAE": ("angles, mean error, degrees", 2, 1),
    "clashes": ("conformers with a clash, %", 1, 100),
    "PoseBusters pass": ("PoseBusters pass, %", 1, 100),
    "strain MMFF94s median": ("MMFF94s strain, median, kcal/mol", 1, 1),
    "stereo right": ("stereo right, %", 1, 100),
    "stereo right before resampling": ("stereo right at once, %", 1, 100),
    "network evaluations per conformer": ("evaluations per conformer", 1, 1),
    "seconds per conformer": ("ms per conformer", 0, 1000),
}


def compared(keys: Sequence[str], *names: str) -> str:
    """Measures of every method; over several files (sampling seeds) the mean and the range."""
    files = [read(name) for name in names]
    methods = [m for m in files[0]["methods"] if all(m in f["methods"] for f in files)]
    rows = []
    for key in keys:
        said, digits, factor = MEASURES[key]
        row = [said]
        for method in methods:
            found = [f["methods"][method].get(key) for f in files]
            values = [factor * value for value in found if value is not None]
            text = f"{sum(values) / len(values):.{digits}f}" if values else "-"
            if len(values) > 1 and min(values) != max(values):
                text += f" ({min(values):.{digits}f}-{max(values):.{digits}f})"
            row.append(text)
        rows.append(row)
    return rendered(["", *[METHODS.get(m, m) for m in methods]], rows, *names[:1])


@table
def conformers_qm9() -> str:
    """QM9-sized ensembles, three sampling seeds."""
    keys = [key for key in MEASURES if not key.startswith(("best", "COV-R(0.75"))]
    return compared(keys, "conformers_qm9_95", "conformers_qm9_95_seed1", "conformers_qm9_95_seed2")


@table
def platinum() -> str:
    """Ligands of Platinum Diverse."""
    keys = [*(key for key in MEASURES if key.startswith("best")), "clashes", "PoseBusters pass", "strain MMFF94s median"]
    return compared([*keys, "stereo right before resampling", "seconds per conformer"], "conformers_platinum_135")


@table
def conformer_benchmark() -> str:
    """Half of conformer-benchmark."""
    keys = (
        "AMR-R all mean",
        "COV-R(0.75) mean",
        "clashes",
        "PoseBusters pass",
        "strain MMFF94s median",
        "seconds per conformer",
    )
    return compared(keys, "conformers_benchmark")


HEADLINE = (  # file, measure, how it is called, whether more is better
    ("conformers_qm9_95", "COV-R(0.1) mean", "QM9-sized: minima found within .1 Å, share", True),
    ("conformers_qm9_95", "AMR-R all mean", "QM9-sized: distance to the nearest, Å (AMR-R)", False),
    ("conformers_qm9_95", "bond MAE", "QM9-sized: error of bond lengths, Å", False),
    ("conformers_platinum_135", "best of 50 median", "ligands of proteins: best of 50, median, Å", False),
    ("conformers_platinum_135", "seconds per conformer", "ligands of proteins: ms per conformer, one core", False),
)


@table
def headline() -> str:
    """Five rows for the README, the best of each in bold; where there are three sampling seeds, their mean."""
    rows = []
    for name, key, said, more in HEADLINE:
        files = [read(name), *([read(f"{name}_seed{k}") for k in (1, 2)] if name == "conformers_qm9_95" else [])]
        _, digits, factor = MEASURES[key]
        values = []
        for method in ("ours ancestral:8:oversample=2", "ETKDGv3", "ETKDGv3 + MMFF94s"):
            values.append(factor * sum(f["methods"][method][key] for f in files) / len(files))
        best = (max if more else min)(values)
        rows.append([said, *[f"**{v:.{digits}f}**" if v == best else f"{v:.{digits}f}" for v in values]])
    return rendered(["", "ours", "ETKDGv3", "ETKDGv3 + MMFF94s"], rows, "conformers_qm9_95", "conformers_platinum_135")


@table
def bundled() -> str:
    """The 20 bundled ensembles."""
    keys = ("COV-R(0.1) mean", "COV-P(0.1) mean", "COV-R(0.5) mean", "COV-P(0.5) mean", "AMR-R all mean", "AMR-P all mean")
    return compared([*keys, "network evaluations per conformer", "seconds per conformer"], "conformers")


@table
def training() -> str:
    """Two stages while they are being trained."""
    keys = (
        "COV-R(0.1) mean",
        "COV-P(0.1) mean",
        "COV-R(0.5) mean",
        "COV-P(0.5) mean",
        "AMR-R all mean",
        "AMR-P all mean",
        "bond MAE",
    )
    return compared(keys, "training_qm9")


@table
def soundness() -> str:
    """What leaves, judged by others than the gate."""
    result = read("soundness")
    head = ["set", "molecules", "sound", "refused", "wrong, said", "wrong, silent"]
    rows = [
        [f"{name}{'' if label == 'now' else f', version {label}'}", *[found[key] for key in head[1:]]]
        for label, one in sorted(result.items(), reverse=True)
        for name, found in one["sets"].items()
    ]
    text = rendered(head, rows)
    return text.rstrip() + "\n\n" + " ".join(source("soundness", one) for one in result.values()) + "\n"


@table
def gate() -> str:
    """What the gate passes, and what it finds of geometries that were damaged."""
    rows = read("gate")["rows"]
    kinds = list(next(iter(rows.values()))["faults"])
    body = []
    for name, row in rows.items():
        found = [row["faults"].get(kind, [0, 0]) for kind in kinds]
        body.append(
            [name, row["conformers"], f"{100 * row['passed']:.1f}", *[f"{a} of {b}" if b else "-" for a, b in found]]
        )
    return rendered(["set", "conformers", "passed, %", *[f"found: {kind}" for kind in kinds]], body, "gate")


@table
def gate_draws() -> str:
    """How often a draw passes at once."""
    rows = [
        [
            n,
            r["conformers"],
            100 * r["stereo right at once"],
            100 * r["right and sound at once"],
            r["gate, ms per conformer"],
        ]
        for n, r in read("gate_draws")["rows"].items()
    ]
    return rendered(["set", "conformers", "stereo right at once, %", "and sound, %", "gate, ms"], rows, "gate_draws")


@table
def confidence() -> str:
    """Rank correlation with the true error."""
    result = read("confidence")
    rows = [[name, r["pooled"], r["standard error"]] for name, r in result["rows"].items()]
    text = rendered(["rank correlation with the true error", "all conformers", "standard error"], rows)
    surest = result["mean error of the surest"]
    return text + "\n" + rendered(["the surest", *surest], [["mean error, Å", *surest.values()]], "confidence")


@table
def failures() -> str:
    """By class of molecule."""
    keys = ["ours AMR-R", "ETKDGv3 AMR-R", "ours AMR-P", "ETKDGv3 AMR-P"]
    rows = [[name, r["molecules"], *[r[key] for key in keys]] for name, r in read("failures_qm9")["rows"].items()]
    return rendered(["molecules with", "molecules", *keys], rows, "failures_qm9")


@table
def exact_targets() -> str:
    """Time and variance of a training step with exact targets."""
    result = read("exact_targets")
    levels = result["levels"]
    rows = [[name, share, *[level[name]["relative"] for level in levels.values()]] for name, share in result["time"].items()]
    return rendered(["averaged out", "time of a step", *[f"variance, log τ {k}" for k in levels]], rows, "exact_targets")


@table
def network_speed() -> str:
    """Training molecules a second."""
    rows = [
        [
            r["data"],
            r["network"],
            r["parameters"],
            f"{r['precision']}{', compiled' * r['compiled']}",
            r["molecules_per_second"],
        ]
        for r in read("network_speed")["rows"]
    ]
    return rendered(["molecules", "network", "parameters", "precision", "molecules a second"], rows, "network_speed")


@table
def guidance() -> str:
    """Conformers that follow a radius of gyration."""
    result = read("guidance")["rows"]
    rows = []
    for asked in dict.fromkeys(row["asked"] for row in result):
        for row in (r for r in result if r["asked"] == asked):
            spread = [f"{row[key][0]:.3f} ± {row[key][1]:.3f}" for key in ("mean_error", "slope", "correlation")]
            rows.append([f"{asked}, w = {row['guidance']:g}", *spread, f"{row['bonds']:.3f}"])
    return rendered(["asked, guidance", "error, Å", "slope", "correlation", "bond lengths off by, Å"], rows, "guidance")


@table
def dynamics() -> str:
    """Ramachandran distributions of alanine dipeptide."""
    found = read("dynamics")
    simulation, training = found["simulation"], found["training"]
    ns = dict(zip(("first simulation", "second simulation"), simulation["ns"], strict=True))
    keys = ("F_alpha_R", "F_alpha_L", "divergence, first simulation", "divergence, second simulation")
    rows = []
    for name, row in found["rows"].items():
        said = f"{name}, {ns[name]:g} ns" if name in ns else name
        said = f"**diffusion**, {training['minutes']:.1f} min of training" if name == "diffusion" else said
        values = [row.get(key) or [None, None] for key in keys]
        cells = ["-" if v is None else f"{number(v)}{'' if e is None else f' ± {number(e, 2)}'}" for v, e in values]
        rows.append([said, row["samples"], *cells])
    head = ["", "samples", "F(αR)", "F(αL)", "JS divergence, first", "JS divergence, second"]
    left = f"Of each simulation {simulation['burn_in_ns']:g} ns before these are left out."
    return rendered(head, rows, "dynamics") + f"\n{left}\n"
