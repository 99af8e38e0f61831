"""Every command and option of `pyg-diffusion`."""

import argparse
import math
from collections.abc import Callable

from .. import __version__

SURFACES = ["MMFF94s", "MMFF94s(eps=4)", "GFN2-xTB"]
KINDS_OF_SPLIT = ["inchikey", "scaffold"]
BASELINES = ["etkdg", "mmff", "mmff4", "etkdg2", "mmff2", "openconf", "openconf-docking"]  # as metrics.BASELINES
SAMPLERS = ["ancestral", "ddim", "exponential1", "exponential2", "exponential3"]


def at_least(low: int) -> Callable[[str], int]:
    """argparse type: an integer >= low."""

    def integer(text: str) -> int:
        value = int(text)
        if value < low:
            raise argparse.ArgumentTypeError(f"{value} is not >= {low}")
        return value

    return integer


def share(text: str) -> float:
    """argparse type: a number in [0, 1]."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{value} does not lie in [0, 1]")
    return value


def positive(text: str) -> float:
    """argparse type: a number > 0."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{value} is not > 0")
    return value


def at_least_zero(text: str) -> float:
    """argparse type: a finite number >= 0."""
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{value} is not finite and >= 0")
    return value


def at_least_one(text: str) -> float:
    """argparse type: a finite number >= 1."""
    value = float(text)
    if not 1 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{value} is not finite and >= 1")
    return value


def wish(text: str) -> tuple[str, float]:
    """argparse type: NAME=VALUE, the value a finite number."""
    name, equals, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (name and equals and math.isfinite(number)):
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=NUMBER, such as radius_of_gyration=3.2")
    return name, number


def count(text: str) -> tuple[int, bool]:
    """argparse type: "10" is 10 per molecule, "2x" is 2 per record of the molecule."""
    return at_least(1)(text.removesuffix("x")), text.endswith("x")


def build_parser() -> argparse.ArgumentParser:
    """Every command and option."""
    parser = argparse.ArgumentParser(
        prog="pyg-diffusion", description="Graph-Laplacian diffusion: molecules in, conformers out."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter)

    p = command(
        "prepare",
        "Turn SDF files or tables of SMILES (packed or not) into one HDF5 store; resumes where it was interrupted.",
    )
    p.add_argument("inputs", nargs="+", metavar="FILE", help="SDF, .smi, .csv or .tsv files; - reads stdin")
    p.add_argument("-o", "--output", required=True, metavar="STORE.h5", help="the store to write")
    p.add_argument("--level", default="", help="level of theory; of the conformers in the files, or to make (GFN2-xTB)")
    p.add_argument("--conformers", type=at_least(1), metavar="K", help="make an ensemble from K starts for each molecule")
    p.add_argument("--window", type=float, default=6.0, metavar="KCAL", help="of an ensemble above its lowest energy")
    p.add_argument("--keep", type=at_least(0), default=0, metavar="M", help="the M lowest of an ensemble; 0: all")
    p.add_argument("--split", type=float, metavar="SHARE", help="put this share of the molecules into STORE_held_out.h5")
    p.add_argument("--split-by", choices=KINDS_OF_SPLIT, help="what a split keeps together; inchikey if not given")
    p.add_argument("-j", "--workers", type=at_least(1), default=None, help="processes; all cores if not given")
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    p.add_argument("--strict", action="store_true", help="exit 1 if any record was skipped")

    p = command("train", "Train a model: of conformers from a prepared store, or of fields on a grid.")
    p.add_argument("config", metavar="CONFIG.yaml", help="the recipe")
    p.add_argument("overrides", nargs="*", metavar="section.key=value", help="change the recipe, e.g. train.max_minutes=30")
    p.add_argument("-o", "--output", required=True, metavar="DIR", help="folder for weights, logs and resume state")
    p.add_argument("--resume", action="store_true", help="continue the run in DIR")
    p.add_argument("--quiet", action="store_true", help="no progress bar")

    p = command("finetune", "Continue the shipped weights, or others, on the conformers of your own SDF files.")
    p.add_argument("inputs", nargs="+", metavar="FILE.sdf", help="conformers to learn from, plain or gzipped")
    p.add_argument("-o", "--output", required=True, metavar="DIR", help="folder for store, weights, logs, resume state")
    p.add_argument("--weights", default=None, metavar="FILE", help="what to begin with; the shipped weights if not given")
    p.add_argument("--level", default="own", help="a name for the kind of geometry in the files; sampled by default after")
    p.add_argument("--minutes", type=positive, default=10.0, help="of training")
    p.add_argument("--set", action="append", default=[], metavar="section.key=value", help="change the recipe")
    p.add_argument("--resume", action="store_true", help="continue the run in DIR")
    p.add_argument("--quiet", action="store_true", help="no progress bar")

    p = command("sample", "Generate conformers of molecules; with weights of fields, fields; of matrices, inverses.")
    p.add_argument(
        "inputs", nargs="*", metavar="INPUT", help="SMILES, InChI, or SDF, .smi, .csv or .tsv files; - reads stdin"
    )
    p.add_argument(
        "-n",
        type=count,
        default=(10, False),
        metavar="N",
        help="conformers per molecule, or fields (10 if not given); 2x: twice the records that the input has of a molecule",
    )
    p.add_argument(
        "-o",
        "--output",
        default="-",
        metavar="OUT.sdf|OUT.h5",
        help="SDF to write (.gz compresses), - is stdout; HDF5 for fields",
    )
    p.add_argument("--seed", type=at_least(0), default=0, help="same seed, same conformers")
    p.add_argument("--weights", default=None, metavar="FILE", help="weights or run folder; the shipped ones if not given")
    p.add_argument("--steps", type=at_least(2), default=None, help="times of every draw; 8 for molecules")
    p.add_argument("--sampler", choices=SAMPLERS, default=None, help="ancestral for molecules, exponential2 for fields")
    p.add_argument("--eta", type=share, default=0.0, help="of the ddim sampler")
    p.add_argument("--ask", type=wish, action="append", default=[], metavar="NAME=VALUE", help="a property to condition on")
    p.add_argument("--guidance", type=float, default=1.0, metavar="W", help="how much to exaggerate what is asked; 1: not")
    p.add_argument(
        "--guide",
        type=wish,
        action="append",
        default=[],
        metavar="TERM=WEIGHT",
        help="steer by a term at this weight in kT: bonds, angles, clashes, smoothness, neighbour_alignment",
    )
    p.add_argument(
        "--keep",
        metavar="SMARTS|FIELD.npy",
        help="leave the atoms of the first match where the input has them; for fields: known values, NaN where free",
    )
    p.add_argument("--level", default=None, metavar="NAME", help="level of theory; the model's first if not given")
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
    p.add_argument("--relax", choices=SURFACES, default="", help="move each to the nearest minimum of this surface")
    p.add_argument("--energies", choices=SURFACES, default="", help="write energies of this surface, and rank by them")
    p.add_argument("--prune", type=float, default=0.0, metavar="RMSD", help="leave out what is this near a better one, Å")
    p.add_argument("--compile", action="store_true", help="torch.compile the network: a minute or two once, for large jobs")
    p.add_argument("--stereo", choices=["sample", "enumerate"], default="sample", help="what to do where it is unspecified")
    p.add_argument("--max-isomers", type=at_least(1), metavar="K", help="most stereoisomers of a molecule; 32 if not given")
    p.add_argument("--no-confidence", action="store_true", help="leave it out: two network evaluations less per draw")
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
    p.add_argument("--report", default=None, metavar="REPORT.json", help="write counts and seconds, for evaluate --report")
    p.add_argument("--device", choices=["cpu", "cuda"], default=None, help="cuda where there is one, if not given")
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    p.add_argument("--strict", action="store_true", help="exit 1 if any record was skipped")

    p = command("evaluate", "Score generated conformers or fields against reference ones.")
    p.add_argument("generated", metavar="GENERATED.sdf|.h5", help="as written by sample; - reads SDF from stdin")
    p.add_argument(
        "reference", nargs="?", metavar="REFERENCE.sdf|.h5", help="fields of a known law need none: it is drawn from"
    )
    p.add_argument("--baselines", action="store_true", help="fields: score simple generators beside it")
    p.add_argument("-o", "--output", default=None, metavar="RESULT.json", help="write every figure as JSON")
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
    p.add_argument("--seed", type=at_least(0), default=0, help="of the ETKDGv3 runs and of the K conformers")
    p.add_argument("--strict", action="store_true", help="exit 1 if any record was skipped")

    p = command("plot", "Draw a training run, an evaluation (of conformers with overlays), or fields.")
    p.add_argument("source", metavar="DIR|RESULT.json|FIELDS.h5", help="a run's folder, JSON of evaluate, or fields")
    p.add_argument("-o", "--output", default=None, metavar="PICTURE.png", help="beside the source if not given")
    p.add_argument("--generated", metavar="GENERATED.sdf", help="overlay these conformers ...")
    p.add_argument("--reference", metavar="REFERENCE.sdf", help="... on these")
    return parser
