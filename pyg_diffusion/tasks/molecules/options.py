"""What the command line takes of molecules."""

from argparse import ArgumentTypeError

from ..base import Options
from ..options import add_drawing, add_recording, at_least, at_least_one, at_least_zero, positive
from .presets import AUTO, PRESETS

SURFACES = ["MMFF94s", "MMFF94s(eps=4)", "GFN2-xTB"]
NONE = "none"  # of them, where a preset has one
ENGINES = ["processes", "ray"]  # as workers.ENGINES
KINDS_OF_SPLIT = ["inchikey", "scaffold"]
BASELINES = ["etkdg", "mmff", "mmff4", "etkdg2", "mmff2", "openconf", "openconf-docking"]  # as metrics.BASELINES


def count(text: str) -> tuple[int | None, bool]:
    """argparse type: "10" is 10 per molecule, "2x" is 2 per record of the molecule, "auto" is by its rotatable bonds."""
    return AUTO if text == "auto" else (at_least(1)(text.removesuffix("x")), text.endswith("x"))


def add_columns(p: Options) -> None:
    """Of what reads tables."""
    p.add_argument("--smiles-column", metavar="NAME", help="of tables, by its header or number; found if not given")
    p.add_argument("--name-column", metavar="NAME", help="of tables, by its header or number; found if not given")


def named_file(text: str) -> tuple[str, str]:
    """argparse type: NAME=FILE."""
    name, _, path = text.partition("=")
    if not (name and path):
        raise ArgumentTypeError(f"{text!r}: expected NAME=FILE, such as openbabel=openbabel.sdf")
    return name, path


def add_prepare(p: Options) -> None:
    """Of `prepare`."""
    p.add_argument("inputs", nargs="+", metavar="FILE", help="SDF and other files of molecules; - reads stdin")
    add_columns(p)
    p.add_argument("-o", "--output", required=True, metavar="STORE.h5", help="the store to write")
    p.add_argument("--top", metavar="TOP.pdb", help="topology of trajectories (XTC, DCD, ...), whose frames are conformers")
    p.add_argument(
        "--template", metavar="SDF", help="with --top: a SMILES, or a file, that says bonds which the topology does not"
    )
    p.add_argument(
        "--select", metavar="ATOMS", help="with --top: what is kept, as mdtraj says it; all but solvent if not given"
    )
    p.add_argument("--stride", type=at_least(1), metavar="N", help="with --top: every Nth frame")
    p.add_argument("--level", default="", help="level of theory; of the conformers in the files, or to make (GFN2-xTB)")
    p.add_argument("--conformers", type=at_least(1), metavar="K", help="make an ensemble from K starts for each molecule")
    p.add_argument("--window", type=float, metavar="KCAL", help="of an ensemble above its lowest energy; 6 if not given")
    p.add_argument("--keep", type=at_least(0), metavar="M", help="the M lowest of an ensemble; 0, or not given: all")
    p.add_argument("--split", type=float, metavar="SHARE", help="put this share of the molecules into STORE_held_out.h5")
    p.add_argument("--split-by", choices=KINDS_OF_SPLIT, help="what a split keeps together; inchikey if not given")
    p.add_argument("-j", "--workers", type=at_least(1), default=None, help="processes; all cores if not given")
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    p.add_argument("--strict", action="store_true", help="exit 1 if any record was skipped")


def add_finetune(p: Options) -> None:
    """Of `finetune`."""
    p.add_argument("inputs", nargs="+", metavar="FILE", help="conformers to learn from: SDF, ... (docs/formats.md)")
    add_columns(p)
    p.add_argument("-o", "--output", required=True, metavar="DIR", help="folder for store, weights, logs, resume state")
    p.add_argument("--weights", default=None, metavar="FILE", help="what to begin with; the shipped weights if not given")
    p.add_argument("--level", default="own", help="a name for the kind of geometry in the files; sampled by default after")
    p.add_argument("--minutes", type=positive, default=10.0, help="of training")
    p.add_argument("--set", action="append", default=[], metavar="section.key=value", help="change the recipe")
    p.add_argument("--resume", action="store_true", help="continue the run in DIR")
    p.add_argument("--quiet", action="store_true", help="no progress bar")


def add_sample(p: Options) -> None:
    """Of `sample`."""
    p.add_argument(
        "-n",
        type=count,
        default=(10, False),
        metavar="N",
        help="conformers per molecule, 10 if not given; 2x: twice the records that the input has of a molecule; auto: by "
        "rotatable bonds, 50 up to 7, 200 up to 12, else 300 (Ebejer et al. 2012)",
    )
    add_columns(p)
    p.add_argument("--preset", choices=list(PRESETS), help="options for a purpose; what is given beside it goes first")
    add_drawing(p, 8, "ancestral")
    add_recording(p, "SDF or XYZ")
    p.add_argument("--keep", metavar="SMARTS", help="leave the atoms of the first match where the input has them")
    p.add_argument(
        "--core",
        metavar="CORE.sdf",
        help="leave what a molecule has in common with one of these templates, the largest part, where that has it",
    )
    p.add_argument("--core-smarts", metavar="SMARTS", help="what of --core is kept, instead of the largest common part")
    p.add_argument("--around", metavar="POSE.sdf", help="make conformers near each of these instead of an INPUT")
    p.add_argument("--spread", type=positive, metavar="RMSD", help="how far from the pose, Å; .5 if not given")
    p.add_argument(
        "--lock",
        action="append",
        default=[],
        metavar="BOND",
        help="with --around, keep its torsion about a bond: two atoms, 4,7 (from 1), or SMARTS of two, or of four in a row",
    )
    p.add_argument(
        "--level",
        default=None,
        metavar="NAME",
        help="level of theory; if not given, the model's first for molecules so large",
    )
    p.add_argument(
        "--diversity",
        type=at_least_zero,
        default=0.0,
        metavar="W",
        help="repulsion between a molecule's conformers in kT, 10 is strong; 0: independent",
    )
    p.add_argument(
        "--oversample",
        type=at_least_one,
        default=None,
        metavar="M",
        help="draw M times as many conformers and keep those that stand best for all; 1: independent ones; 2 if not given",
    )
    surfaces = [*SURFACES, NONE]
    p.add_argument("--relax", choices=surfaces, default="", help="move each to the nearest minimum of this surface")
    p.add_argument("--energies", choices=surfaces, default="", help="write energies of this surface, and rank by them")
    p.add_argument(
        "--prune", type=at_least_zero, default=0.0, metavar="RMSD", help="leave out what is so near a better one, Å"
    )
    p.add_argument(
        "--prune-torsions",
        type=at_least_zero,
        default=0.0,
        metavar="TFD",
        help="leave out what has a torsion fingerprint this near a better one's (0 to 1; .1 or .2 is usual)",
    )
    p.add_argument("--window", type=at_least_zero, metavar="KCAL", help="leave out what is so far above the lowest energy")
    p.add_argument("--kelvin", type=positive, metavar="T", help="write Boltzmann populations at this temperature")
    p.add_argument("--parent", action="store_true", help="leave salts and solvents out: the largest organic fragment alone")
    p.add_argument(
        "--tautomers",
        choices=["canonical", "all"],
        default="",
        help="make RDKit's canonical tautomer, or all, the best by its score; none that loses stereo which was given",
    )
    p.add_argument("--ph", type=float, metavar="PH", help="make the states of protonation likely at this pH (dimorphite-dl)")
    p.add_argument("--max-forms", type=at_least(1), metavar="K", help="most tautomers, and protomers of each; 8 if not said")
    p.add_argument("--stereo", choices=["sample", "enumerate"], default="sample", help="what to do where it is unspecified")
    p.add_argument("--max-isomers", type=at_least(1), metavar="K", help="most stereoisomers of a molecule; 32 if not given")
    p.add_argument("--no-confidence", action="store_true", help="leave it out: two network evaluations less per draw")
    told = "give it, where a preset leaves it out"
    p.add_argument("--confidence", action="store_false", dest="no_confidence", default=False, help=told)
    p.add_argument(
        "--attempts",
        type=at_least(1),
        default=10,
        help="draws per conformer until it is sound and its stereo right; 1: none is drawn again or mended",
    )
    p.add_argument(
        "--unsound",
        choices=["refuse", "keep"],
        default="refuse",
        help="what to do with a geometry that cannot be after all attempts; keep: write the nearest miss, marked 'unsound'",
    )
    p.add_argument(
        "-j",
        "--workers",
        type=at_least(1),
        default=None,
        metavar="N",
        help="processes, of one thread each; all cores if not given, where it pays. A seed gives the same with any number",
    )
    p.add_argument(
        "--memory",
        type=positive,
        default=None,
        metavar="GB",
        help="that all processes may take, on a cluster each: sizes batches, and bounds --workers",
    )
    p.add_argument(
        "--engine", choices=ENGINES, default="processes", help="ray: workers are actors of a Ray cluster (docs/cluster.md)"
    )
    p.add_argument(
        "--shard-size",
        type=positive,
        default=None,
        metavar="MB",
        help="write files OUT-00000.sdf, OUT-00001.sdf, ..., each of about this size",
    )
    p.add_argument(
        "--time-limit",
        type=positive,
        metavar="S",
        help="seconds that a molecule may take; one that takes longer yields nothing",
    )
    p.add_argument("--failed", metavar="FAILED.smi", help="write what yields nothing here, the reason behind its name")
    p.add_argument("--resume", action="store_true", help="go on with the job that was cut while it wrote this output")
    p.add_argument("--strict", action="store_true", help="exit 1 if any record was skipped")


def add_evaluate(p: Options) -> None:
    """Of `evaluate`."""
    add_columns(p)
    p.add_argument("--report", default=None, metavar="REPORT.json", help="of sample: its cost goes into the table")
    p.add_argument(
        "--compare",
        nargs="+",
        choices=BASELINES,
        default=[],
        metavar="NAME",
        help="other methods beside it, as many conformers each: etkdg (RDKit's ETKDGv3), mmff (relaxed by MMFF94s), mmff4 "
        "(at dielectric constant 4), etkdg2 and mmff2 (drawn twice and clustered), openconf, openconf-docking",
    )
    p.add_argument("--etkdg", action="store_true", help="short for --compare etkdg")
    p.add_argument(
        "--beside",
        type=named_file,
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="other conformers, under this name",
    )
    p.add_argument("--mmff", action="store_true", help="short for --compare mmff")
    p.add_argument(
        "--openconf-python",
        metavar="PYTHON",
        help="the interpreter of an environment that has openconf (pip install openconf; Python 3.12 or later)",
    )
    p.add_argument("--delta", type=float, nargs="+", default=[0.1, 0.5], help="coverage thresholds in Å")
    p.add_argument(
        "--busters",
        type=int,
        default=50,
        metavar="K",
        help="PoseBusters and MMFF94s strain on K conformers of each method; 0 leaves both out",
    )
    p.add_argument("--xtb", action="store_true", help="GFN2-xTB strain of those as well; slow, needs tblite")
    p.add_argument("-j", "--workers", type=at_least(1), default=None, help="processes; all cores if not given")
    p.add_argument("--strict", action="store_true", help="exit 1 if any record was skipped")


def add_plot(p: Options) -> None:
    """Of `plot`."""
    p.add_argument("--generated", metavar="GENERATED.sdf", help="overlay these conformers ...")
    p.add_argument("--reference", metavar="REFERENCE.sdf", help="... on these")
