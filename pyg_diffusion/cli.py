"""pyg-diffusion prepare | train | finetune | sample | evaluate | plot.

Exit status: 0 when anything was produced, 1 when nothing was (or, with --strict, when a record was skipped), 2 for wrong
usage. Results go to files or stdout; messages and progress to stderr.
"""

import argparse
import gzip
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from . import __version__


class Skipped:
    """Counts and names records that could not be used; the summary comes at the end."""

    def __init__(self) -> None:
        self.rows: list[str] = []

    def add(self, name: str, reason: str) -> None:
        self.rows.append(name)
        say(f"skipped {name}: {reason}")

    def summary(self, done: int, noun: str) -> None:
        if self.rows:
            shown = ", ".join(self.rows[:5]) + (", ..." if len(self.rows) > 5 else "")
            say(f"{done} {noun} done, {len(self.rows)} skipped: {shown}")


def say(text: str) -> None:
    """A message to the user."""
    print(text, file=sys.stderr, flush=True)


def status(produced: bool, skipped: bool, strict: bool) -> int:
    """The exit status of a command that reads records."""
    return 0 if produced and not (strict and skipped) else 1


class UsageError(Exception):
    """The command line asks for something impossible: exit status 2."""


class Output:
    """A text file, gzipped if its name says so, or stdout for "-".

    That it can be written is checked at once (parent folders are made), but the file is touched only with the first text: a
    job that fails before leaves what was there. An output that is also an input is refused.
    """

    def __init__(self, path: str, inputs: Sequence[str] = ()):
        self.path = path
        self._stream: TextIO | None = sys.stdout if path == "-" else None
        if path == "-":
            return
        target = Path(path)
        if target.exists() and any(Path(name).exists() and target.samefile(name) for name in inputs):
            raise UsageError(f"{path} is also an input")
        new = not target.exists()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, "ab"):
                pass
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
        if new:
            target.unlink()

    def write(self, text: str) -> None:
        if self._stream is None:
            self._stream = gzip.open(self.path, "wt") if self.path.endswith(".gz") else open(self.path, "w")  # noqa: SIM115
        self._stream.write(text)

    def flush(self) -> None:
        if self._stream is not None:
            self._stream.flush()

    def __enter__(self) -> "Output":
        return self

    def __exit__(self, *error: object) -> None:
        if self._stream is not None and self.path != "-":
            self._stream.close()


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


SURFACES = ["MMFF94s", "GFN2-xTB"]
KINDS_OF_SPLIT = ["inchikey", "scaffold"]
SAMPLERS = ["ancestral", "ddim", "exponential1", "exponential2", "exponential3"]


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
        "prepare", "Turn SDF or SMILES files (plain or gzipped) into one HDF5 store; resumes where it was interrupted."
    )
    p.add_argument("inputs", nargs="+", metavar="FILE", help="SDF or .smi files; - reads SDF from stdin")
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
    p.add_argument("inputs", nargs="*", metavar="INPUT", help="SMILES, or .smi/.sdf files; - reads stdin")
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
    p.add_argument("--steps", type=at_least(2), default=None, help="network evaluations per conformer")
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
    p.add_argument("--relax", choices=SURFACES, default="", help="move each to the nearest minimum of this surface")
    p.add_argument("--energies", choices=SURFACES, default="", help="write energies of this surface, and rank by them")
    p.add_argument("--prune", type=float, default=0.0, metavar="RMSD", help="leave out what is this near a better one, Å")
    p.add_argument("--compile", action="store_true", help="torch.compile the network: a minute or two once, for large jobs")
    p.add_argument("--stereo", choices=["sample", "enumerate"], default="sample", help="what to do where it is unspecified")
    p.add_argument("--max-isomers", type=at_least(1), metavar="K", help="most stereoisomers of a molecule; 32 if not given")
    p.add_argument("--no-confidence", action="store_true", help="leave it out: four network evaluations less per conformer")
    p.add_argument("--attempts", type=at_least(1), default=10, help="draws per conformer until its stereo is right")
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
    p.add_argument("--etkdg", action="store_true", help="run RDKit's ETKDGv3 beside it, as many conformers")
    p.add_argument("--mmff", action="store_true", help="run ETKDGv3 + MMFF94s beside it as well")
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


def run_prepare(args: argparse.Namespace) -> int:
    from .chem.ensembles import EnsembleOptions
    from .chem.prepare import NothingUsable, held_out_path, prepare
    from .chem.splits import Split

    skipped = Skipped()
    made, level = None, args.level
    if args.split_by and args.split is None:
        raise UsageError("--split-by goes with --split")
    try:
        split = None if args.split is None else Split(args.split, args.split_by or "inchikey")
    except ValueError as error:
        raise UsageError(f"--split: {error}") from error
    try:
        if args.conformers:
            made, level = EnsembleOptions(args.conformers, level or "GFN2-xTB", args.window, keep=args.keep), ""
        report = prepare(args.inputs, args.output, args.workers, not args.quiet, made, level, split)
    except NothingUsable as error:
        report = error.report
    for row in report.skipped:
        skipped.add(f"{row.name} ({row.file}, record {row.record})", row.reason)
    for note, count in report.notes.items():
        say(f"{note}: {count}")
    skipped.summary(report.records - len(report.skipped), "records")
    if not report.molecules:
        say("nothing usable; no store was written")
        return 1
    say(f"{args.output}: {report.molecules} molecules, {report.conformers} conformers, {report.seconds:.1f} s")
    if split is not None:
        held_out = f"{report.held_out_molecules} molecules, {report.held_out_conformers} conformers"
        say(f"{held_out_path(args.output)}: {held_out}, held out by {split.by}")
    return status(report.molecules > 0, bool(report.skipped), args.strict)


def run_train(args: argparse.Namespace) -> int:
    from .train import load_config
    from .train.config import ConfigError

    try:
        config = load_config(args.config, args.overrides)
    except ConfigError as error:
        raise UsageError(str(error)) from error
    return _train(config, args, f"train {args.config}")


def _train(config: Any, args: argparse.Namespace, again: str) -> int:
    """Run a recipe; `again` is what to say after the program's name to resume it."""
    from .train import train

    result = train(config, args.output, resume=args.resume, progress=not args.quiet)
    if not result.main:
        return 130 if result.interrupted else 0
    say(f"{result.weights}: {result.steps} steps, {result.minutes:.1f} min, validation loss {result.val_loss:.4f}")
    if result.interrupted:
        say(f"interrupted; 'pyg-diffusion {again} -o {args.output} --resume' continues")
    return 130 if result.interrupted else 0


def run_finetune(args: argparse.Namespace) -> int:
    from .chem.prepare import prepare
    from .train import finetune_recipe
    from .train.config import ConfigError

    store = Path(args.output) / "data.h5"
    try:
        config = finetune_recipe(str(store), args.level, args.weights, args.minutes, args.set)
    except ConfigError as error:
        raise UsageError(str(error)) from error
    if not (args.resume and store.is_file()):
        if (Path(args.output) / "last.ckpt").exists():
            raise UsageError(f"{args.output} already holds a run; give --resume to continue it, or another folder")
        store.parent.mkdir(parents=True, exist_ok=True)
        report = prepare(args.inputs, str(store), progress=not args.quiet, level=args.level)
        skipped = Skipped()
        for row in report.skipped:
            skipped.add(f"{row.name} ({row.file}, record {row.record})", row.reason)
        skipped.summary(report.records - len(report.skipped), "records")
        say(f"{store}: {report.molecules} molecules, {report.conformers} conformers")
    return _train(config, args, f"finetune {' '.join(args.inputs)}")


def _sampler(args: argparse.Namespace):
    from .sample import DDIM, Ancestral, Exponential

    if args.eta and args.sampler != "ddim":
        raise UsageError("--eta belongs to --sampler ddim")
    if args.sampler is None:
        return None  # the generator's own choice
    if args.sampler == "ddim":
        return DDIM(args.eta)
    return Ancestral() if args.sampler == "ancestral" else Exponential(int(args.sampler[-1]))


def run_sample(args: argparse.Namespace) -> int:
    from .pretrained import load_pretrained

    if args.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise UsageError("--device cuda: this machine has no CUDA device that torch can use")
    options = {"sampler": _sampler(args), "device": args.device, "compile": args.compile}
    if args.steps is not None:
        options["steps"] = args.steps
    if args.guidance != 1 and not args.ask:
        raise UsageError("--guidance goes with --ask")
    weights = None if args.weights is None else load_pretrained(args.weights)
    conditions = () if weights is None else weights[1].model.get("conditions", ())
    unknown = sorted(set(dict(args.ask)) - set(conditions))
    if unknown:
        raise UsageError(f"--ask {unknown[0]}: these weights were not trained with it (model.conditions in the recipe)")
    kind = "molecules" if weights is None else weights[1].data["kind"]
    if args.max_isomers and args.stereo == "sample":
        raise UsageError("--max-isomers goes with --stereo enumerate")
    if args.stereo == "enumerate" and kind != "molecules":
        raise UsageError(f"--stereo enumerate: these weights make {kind}, which have no stereo")
    for_molecules = {
        "--level": args.level,
        "--relax": args.relax,
        "--energies": args.energies,
        "--prune": args.prune,
        "--no-confidence": args.no_confidence,
    }
    if kind != "molecules" and (given := [name for name, value in for_molecules.items() if value]):
        raise UsageError(f"{', '.join(given)}: for molecules, but these weights make {kind}")
    run = {"molecules": _sample_molecules, "fields": _sample_fields, "matrices": _invert_matrices}[kind]
    return run(args, weights, options)


def _invert_matrices(args: argparse.Namespace, weights: Any, options: dict[str, Any]) -> int:
    import numpy as np
    from tqdm import tqdm

    from .generate_matrices import MatrixInverter

    if len(args.inputs) != 1 or not args.inputs[0].endswith(".npy") or args.output == "-":
        raise UsageError("these weights invert matrices: give one A.npy [n, n] or [S, n, n], and -o INVERSES.npy")
    if args.sampler or args.steps or args.compile or args.guide or args.keep:
        raise UsageError("inverses are descended to: --sampler, --steps, --compile, --guide and --keep do not apply")
    try:
        matrices = np.load(args.inputs[0], allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"{args.inputs[0]}: not a .npy array ({error})") from error
    Output(args.output)  # can it be written?
    with tqdm(desc="matrices", disable=args.quiet, file=sys.stderr, dynamic_ncols=True) as bar:
        out = MatrixInverter(*weights).invert(matrices, args.seed, bar.update)
    with open(args.output, "wb") as stream:
        np.save(stream, out.numpy())
    residual = np.abs(matrices @ out.numpy() - np.eye(out.size(-1))).max((-2, -1))
    say(f"{args.output}: largest entry of |A Y - I|: median {np.median(residual):.2g}, largest {residual.max():.2g}")
    return 0


def _guides(args: argparse.Namespace, known: Sequence[str]) -> dict[str, float]:
    """Terms to steer by."""
    if set(dict(args.guide)) - set(known):
        raise UsageError(f"--guide takes {', '.join(known)}")
    return dict(args.guide)


def _sample_fields(args: argparse.Namespace, weights: Any, options: dict[str, Any]) -> int:
    import time
    from functools import partial

    import numpy as np
    from tqdm import tqdm

    from .data.field_file import write_fields
    from .generate_fields import FieldGenerator
    from .terms import GRAPH_TERMS, bind

    if args.inputs != ["-"]:
        raise UsageError(f"these weights make fields, which take no input; got {args.inputs[0]!r}")
    if args.output == "-" or args.n[1]:
        raise UsageError("fields go to a file, -o OUT.h5, and their number is plain, -n 100")
    terms = _guides(args, GRAPH_TERMS)
    fixed = None
    if args.keep:
        try:
            fixed = np.load(args.keep, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise UsageError(f"--keep {args.keep}: not a .npy array ({error})") from error
    Output(args.output)  # can it be written?
    generator = FieldGenerator(*weights, **options)
    start, count = time.perf_counter(), args.n[0]
    with tqdm(desc="fields", total=count, disable=args.quiet, file=sys.stderr, dynamic_ncols=True) as bar:
        x = generator.sample(
            count,
            args.seed,
            dict(args.ask) or None,
            args.guidance,
            partial(bind, terms) if terms else None,
            fixed=fixed,
            progress=bar.update,
        )
    seconds = time.perf_counter() - start
    write_fields(args.output, x, generator.card.data)
    if args.report:
        with Output(args.report) as out:
            out.write(json.dumps({"fields": count, "seconds": seconds, "evaluations": generator.steps}, indent=1) + "\n")
    say(f"{args.output}: {count} fields, {1e3 * seconds / count:.1f} ms and {generator.steps} network evaluations each")
    return 0


def _sample_molecules(args: argparse.Namespace, weights: Any, options: dict[str, Any]) -> int:
    from rdkit import Chem

    from .chem.finish import PRUNED, Finish
    from .generate import Generator
    from .pipeline import sample_records
    from .terms import GRAPH_TERMS, MOLECULE_TERMS

    terms = _guides(args, (*GRAPH_TERMS, *MOLECULE_TERMS))
    finish = Finish(args.relax, args.energies, args.prune)
    keep = Chem.MolFromSmarts(args.keep) if args.keep else None
    if args.keep and keep is None:
        raise UsageError(f"--keep {args.keep!r}: not a SMARTS pattern")
    options["confidence"] = not args.no_confidence
    generator = Generator.from_pretrained(**options) if weights is None else Generator(*weights, **options)
    skipped = Skipped()
    n, per_record = args.n
    report = Output(args.report) if args.report else None
    with Output(args.output, args.inputs) as out:
        tally = sample_records(
            generator,
            args.inputs,
            n,
            per_record,
            out,
            skipped.add,
            say,
            args.seed,
            args.attempts,
            progress=not args.quiet,
            condition=dict(args.ask) or None,
            guidance=args.guidance,
            terms=terms,
            keep=keep,
            level=args.level,
            finish=finish,
            max_isomers=(args.max_isomers or 32) if args.stereo == "enumerate" else None,
        )
    if report is not None:
        with report:
            report.write(json.dumps(asdict(tally), indent=1) + "\n")
    skipped.summary(tally.molecules, "molecules")
    if tally.conformers:
        say(
            f"{tally.conformers} conformers of {tally.molecules} molecules, "
            f"{1e3 * tally.seconds / tally.conformers:.1f} ms and "
            f"{tally.evaluations / tally.conformers:.1f} network evaluations each; "
            f"stereo right at once {100 * tally.right_at_once / tally.asked:.1f} %"
        )
    for note, number in tally.finished.items():
        say(f"{note}: {number}")
    missing = tally.asked - tally.conformers - tally.finished.get(PRUNED, 0)
    if missing:
        say(f"{missing} conformers missing after {args.attempts} attempts each")
    return status(tally.conformers > 0, bool(skipped.rows), args.strict)


def _evaluate_fields(args: argparse.Namespace) -> int:
    from .pipeline_fields import evaluate_fields, table

    out = Output(args.output, [args.generated, args.reference or ""]) if args.output else None
    result = evaluate_fields(args.generated, args.reference, args.baselines, args.seed)
    print(table(result))
    if out is not None:
        with out:
            out.write(json.dumps(result, indent=1) + "\n")
    return 0


def run_evaluate(args: argparse.Namespace) -> int:
    if args.generated.endswith((".h5", ".hdf5")):
        return _evaluate_fields(args)
    if args.reference is None:
        raise UsageError("conformers need a REFERENCE.sdf to be scored against")
    if args.baselines:
        raise UsageError("--baselines is for fields; conformers have --etkdg and --mmff")
    from .pipeline import evaluate_files

    if args.xtb and args.busters == 0:
        raise UsageError("--xtb needs conformers to work on: --busters above 0")
    out = Output(args.output, [args.generated, args.reference]) if args.output else None
    skipped = Skipped()
    comparison, result = evaluate_files(
        args.generated,
        args.reference,
        skipped.add,
        report=args.report,
        baselines=[False] * args.etkdg + [True] * args.mmff,
        deltas=args.delta,
        checked=args.busters,
        xtb=args.xtb,
        workers=args.workers,
        seed=args.seed,
    )
    print(comparison.table())
    if out is not None:
        with out:
            out.write(json.dumps(result, indent=1) + "\n")
    scored = comparison.molecules - len(comparison.failed["pyg_diffusion"])
    skipped.summary(scored, "molecules")
    return status(scored > 0, bool(skipped.rows), args.strict)


def run_plot(args: argparse.Namespace) -> int:
    import matplotlib

    matplotlib.use("Agg")  # files, with or without a display
    from .plot import plot_evaluation, plot_fields, plot_run

    source = Path(args.source)
    if not source.exists():
        raise UsageError(f"{source}: no such file or folder")
    if bool(args.generated) != bool(args.reference):
        raise UsageError("--generated and --reference go together")
    if args.output:
        Output(args.output)  # can it be written?
    if source.is_dir():
        target = plot_run(source, Path(args.output) if args.output else source / "training.png")
    elif source.suffix in (".h5", ".hdf5"):
        target = plot_fields(source, Path(args.output) if args.output else source.with_suffix(".png"))
    else:
        target = plot_evaluation(
            source, Path(args.output) if args.output else source.with_suffix(".png"), args.generated, args.reference
        )
    say(f"{target}: written")
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse, with free arguments allowed before, between and after the options (argparse alone drops the late ones)."""
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    free = {"train": "overrides", "sample": "inputs"}.get(args.command)
    if rest:
        if free is None or any(r.startswith("-") and r != "-" for r in rest):
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        setattr(args, free, [*getattr(args, free), *rest])
    if args.command == "sample":
        args.inputs = args.inputs or ["-"]
    return args


def main(argv: list[str] | None = None) -> int:
    """The `pyg-diffusion` program."""
    args = parse(argv)
    run: dict[str, Callable[[argparse.Namespace], int]] = {
        "prepare": run_prepare,
        "train": run_train,
        "finetune": run_finetune,
        "sample": run_sample,
        "evaluate": run_evaluate,
        "plot": run_plot,
    }
    try:
        return run[args.command](args)
    except UsageError as error:
        say(f"pyg-diffusion {args.command}: {error}")
        return 2
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except (ValueError, OSError, RuntimeError) as error:  # the package's own errors say what is wrong and what to do
        say(f"pyg-diffusion {args.command}: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
