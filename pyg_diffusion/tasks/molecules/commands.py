"""What the commands do with molecules."""

from __future__ import annotations

import argparse
import json
import math
import os
import pickle
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

from ...console import Output, Skipped, UsageError, say, status
from ...denoise import Denoiser
from ...weights_io import Card
from ..options import drawing_options, guides
from .journal import Journal, journaled
from .options import NONE, SURFACES
from .presets import PRESETS

if TYPE_CHECKING:
    from rdkit.Chem import Mol

    from ...chem.core import Cores
    from ...chem.finish import Finish
    from ...chem.forms import Forms
    from ...chem.table import Columns
    from .blocks import BenchElsewhere
    from .generator import ConformerGenerator
    from .places import Lock
    from .sample import Request
    from .sharing import Sharing


def prepare(args: argparse.Namespace) -> int:
    """A store of the inputs."""
    from ...chem.ensembles import EnsembleOptions
    from ...chem.prepare import NothingUsable, held_out_path
    from ...chem.prepare import prepare as run
    from ...chem.splits import Split

    skipped = Skipped()
    made, level = None, args.level
    if args.split_by and args.split is None:
        raise UsageError("--split-by goes with --split")
    if not args.conformers and (args.window is not None or args.keep is not None):
        raise UsageError("--window and --keep are of ensembles that are made: they go with --conformers")
    try:
        split = None if args.split is None else Split(args.split, args.split_by or "inchikey")
    except ValueError as error:
        raise UsageError(f"--split: {error}") from error
    try:
        if args.conformers:
            window = 6.0 if args.window is None else args.window
            made, level = EnsembleOptions(args.conformers, level or "GFN2-xTB", window, keep=args.keep or 0), ""
        report = run(args.inputs, args.output, args.workers, not args.quiet, made, level, split, columns_of(args))
    except NothingUsable as error:
        report = error.report
    for row in report.skipped:
        skipped.add(f"{row.name} ({row.file}, record {row.record})", row.reason)
    for line in report.remarks():
        say(line)
    skipped.summary(report.records - len(report.skipped), "records")
    if not report.molecules:
        say("nothing usable; no store was written")
        return 1
    say(f"{args.output}: {report.molecules} molecules, {report.conformers} conformers, {report.seconds:.1f} s")
    if split is None and held_out_path(args.output).exists():
        say(f"{held_out_path(args.output)}: left by an earlier run with --split; it may share molecules with the new store")
    if split is not None:
        held_out = f"{report.held_out_molecules} molecules, {report.held_out_conformers} conformers"
        say(f"{held_out_path(args.output)}: {held_out}, held out by {split.by}")
    return status(report.molecules > 0, bool(report.skipped), args.strict)


def finetune(args: argparse.Namespace) -> int:
    """Weights continued on the inputs."""
    from ...chem.prepare import prepare
    from ...train.checkpoint import LAST, PREVIOUS
    from ...train.recipe import RecipeError
    from ..training import run_recipe
    from .finetune import finetune_recipe

    store = Path(args.output) / "data.h5"
    try:
        recipe = finetune_recipe(str(store), args.level, args.weights, args.minutes, args.set)
    except RecipeError as error:
        raise UsageError(str(error)) from error
    if not (args.resume and store.is_file()):
        if any((Path(args.output) / name).exists() for name in (LAST, PREVIOUS)):
            raise UsageError(f"{args.output} already holds a run; give --resume to continue it, or another folder")
        try:
            store.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot write {args.output}: {error.strerror or error}") from error
        report = prepare(args.inputs, str(store), progress=not args.quiet, level=args.level, columns=columns_of(args))
        skipped = Skipped()
        for row in report.skipped:
            skipped.add(f"{row.name} ({row.file}, record {row.record})", row.reason)
        for line in report.remarks():
            say(line)
        skipped.summary(report.records - len(report.skipped), "records")
        say(f"{store}: {report.molecules} molecules, {report.conformers} conformers")
    again = ["finetune", *args.inputs, "--level", args.level, "--minutes", f"{args.minutes:g}"]
    for flag, value in (("--smiles-column", args.smiles_column), ("--name-column", args.name_column)):
        again += [] if value is None else [flag, value]
    again += [] if args.weights is None else ["--weights", args.weights]
    again += [word for change in args.set for word in ("--set", change)]
    return run_recipe(recipe, args.output, args.resume, args.quiet, again)


def columns_of(args: argparse.Namespace) -> Columns:
    """The columns of tables that are asked for."""
    from ...chem.table import Columns

    return Columns(args.smiles_column or "", args.name_column or "")


def _forms(args: argparse.Namespace) -> Forms:
    """The forms of molecules that are made."""
    from ...chem.forms import MOST, Forms

    if args.max_forms is not None and not (args.tautomers or args.ph is not None):
        raise UsageError("--max-forms goes with --tautomers or --ph")
    try:
        return Forms(args.parent, args.tautomers, args.ph, args.max_forms or MOST)
    except ValueError as error:
        raise UsageError(f"--ph: {error}") from error


def finish_of(args: argparse.Namespace) -> Finish:
    """What is done to the conformers before they are written."""
    from ...chem.finish import Finish

    relax, energies = ("" if name == NONE else name for name in (args.relax, args.energies))
    if not (relax or energies):
        for flag, value in (("--window", args.window), ("--kelvin", args.kelvin)):
            if value is not None:
                raise UsageError(f"{flag} needs energies: add --energies {SURFACES[1]}, or --relax")
    window = math.inf if args.window is None else args.window
    return Finish(relax, energies, args.prune, args.prune_torsions, window, args.kelvin or 0.0)


def with_preset(args: argparse.Namespace) -> None:
    """Set what a preset stands for, where nothing else is given."""
    if not args.preset:
        return
    preset = PRESETS[args.preset]
    say(f"--preset {args.preset}: {preset}")
    for name, value in preset.options.items():
        if ("-n" if name == "n" else f"--{name.replace('_', '-')}") not in args.given:
            setattr(args, name, value)


def _pattern(flag: str, text: str | None) -> Mol | None:
    """A SMARTS pattern, None where none is given."""
    from rdkit import Chem

    pattern = Chem.MolFromSmarts(text) if text else None
    if text is not None and (pattern is None or not pattern.GetNumAtoms()):
        raise UsageError(f"{flag} {text!r}: not a SMARTS pattern")
    return pattern


def _check_places(args: argparse.Namespace) -> None:
    """Whether what is asked of places goes together; sets the poses for inputs, and the spread."""
    from .kept import tau_of_spread

    if args.core and (args.keep or args.around):
        raise UsageError("--core says where atoms lie by a template, --keep and --around by the input: give one of them")
    if args.core_smarts and not args.core:
        raise UsageError("--core-smarts says what of --core is kept: give --core CORE.sdf as well")
    if not args.around:
        if args.spread is not None or args.lock:
            raise UsageError(f"{'--lock' if args.lock else '--spread'} goes with --around POSE.sdf")
        return
    if args.inputs != ["-"]:
        raise UsageError(f"--around {args.around} brings its molecules: leave {args.inputs[0]} out")
    if other := {"--parent", "--tautomers", "--ph"}.intersection(args.given):
        raise UsageError(f"{sorted(other)[0]} makes other molecules than the poses of --around are of: leave it out")
    args.inputs, args.spread = [args.around], 0.5 if args.spread is None else args.spread
    try:
        tau_of_spread(args.spread)
    except ValueError as error:
        raise UsageError(f"--spread: {error}") from error


def _cores(args: argparse.Namespace) -> Cores | None:
    """What finds the atoms that lie as in a template."""
    if not args.core:
        return None
    from ...chem.core import Cores, read_templates

    pattern = _pattern("--core-smarts", args.core_smarts)
    try:
        cores = Cores(read_templates(args.core, say), pattern)
    except ValueError as error:
        raise UsageError(f"--core: {error}") from error
    for name in cores.lacking:
        say(f"{args.core}: {name} is left out: no core that {cores.needs}")
    return cores


def _locks(args: argparse.Namespace) -> list[Lock]:
    """Bonds that keep their torsion."""
    from .places import Lock

    try:
        return [Lock(text) for text in args.lock]
    except ValueError as error:
        raise UsageError(f"--lock: {error}") from error


def _check_outputs(args: argparse.Namespace) -> None:
    """No two of the files that are written are one."""
    taken: dict[str, str] = {}
    for option in ("--output", "--failed", "--report", "--trajectory"):
        path = getattr(args, option[2:])
        if path not in (None, "-") and (other := taken.setdefault(os.path.realpath(path), option)) != option:
            raise UsageError(f"{option} and {other} are one file, {path}: give two")


def _request(args: argparse.Namespace, terms: Sequence[str]) -> Request:
    """What is asked of every molecule."""
    from .embed import OVERSAMPLE
    from .sample import Request
    from .sharing import largest

    if args.max_isomers and args.stereo == "sample":
        raise UsageError("--max-isomers goes with --stereo enumerate")
    _check_places(args)
    _check_outputs(args)
    return Request(
        n=args.n[0],
        per_record=args.n[1],
        columns=columns_of(args),
        forms=_forms(args),
        most_atoms=largest(),
        time_limit=math.inf if args.time_limit is None else args.time_limit,
        seed=args.seed,
        attempts=args.attempts,
        condition=dict(args.ask) or None,
        guidance=args.guidance,
        terms=guides(args, terms),
        level=args.level,
        diversity=args.diversity,
        oversample=args.oversample or OVERSAMPLE,
        keep=_pattern("--keep", args.keep),
        core=_cores(args),
        spread=args.spread,
        locks=_locks(args),
        max_isomers=(args.max_isomers or 32) if args.stereo == "enumerate" else None,
        finish=finish_of(args),
    )


# What may differ between the pieces of one job.
_FREE = {
    "output", "failed", "report", "quiet", "debug", "resume", "strict", "task", "given", "weights", "preset", "device",
    "workers", "engine", "time_limit",
}  # fmt: skip


def _journal(args: argparse.Namespace, card: Card) -> Journal | None:
    """Of a job that can go on where it was cut; None where nothing could."""
    if args.output == "-" or args.trajectory:
        if args.resume:
            raise UsageError("--resume goes on with an output that is a file (-o), and without --trajectory")
        return None
    settings: dict[str, object] = {name: repr(value) for name, value in vars(args).items() if name not in _FREE}
    files = [*args.inputs, *([args.core] if args.core else [])]
    sizes = [os.path.getsize(name) for name in files if os.path.isfile(name)]  # long SMILES are no names
    return Journal(
        args.output, settings | {"weights": crc32(card.model_dump_json().encode()), "size of the inputs": sizes}, args.resume
    )


def _sharing(args: argparse.Namespace, generator: ConformerGenerator, elsewhere: BenchElsewhere) -> Sharing:
    """Who draws. A memory budget sizes the batches, here and elsewhere."""
    from ...sample.registry import FITTED
    from ...workers import ENGINES
    from .sharing import GB, PROCESS, Sharing, room

    most = math.inf
    if args.memory is not None:
        pairs, most = room(args.memory * GB, generator.budget, generator.device == "cuda")
        if not pairs:
            raise UsageError(f"--memory {args.memory:g}: a process takes {PROCESS / GB:g} GB before it draws anything")
        generator.budget = elsewhere.options["max_pairs"] = pairs
    grid = (args.grid or elsewhere.card.sampling.get("grid") or "").partition(":")[0]
    if args.trajectory or grid in FITTED:
        if (args.workers or 1) > 1 or args.engine != "processes":
            why = "--trajectory is written" if args.trajectory else f"a grid that is {grid} is fitted to the first molecules"
            raise UsageError(f"{why} by one process: leave out --workers and --engine")
        return Sharing()
    if args.engine != "processes":
        crew = partial(ENGINES[args.engine], gpus=args.device != "cpu")
        return Sharing(elsewhere, args.workers, crew=crew, cluster=True)
    if args.workers is not None and args.workers > most:
        say(f"--memory {args.memory:g} has room for {most} of {args.workers} workers")
    return Sharing(elsewhere, args.workers, most)


def sample(args: argparse.Namespace, denoiser: Denoiser, card: Card, terms: Sequence[str]) -> int:
    """Conformers of the inputs, as SDF."""
    from ...chem.formats import format_to_write
    from ..trajectories import recording_of
    from .blocks import Bench, BenchElsewhere
    from .generator import ConformerGenerator
    from .outputs import Shards, output_of
    from .sample import Sink, sample_records
    from .trajectory import SUFFIXES, TrajectoryFile

    with_preset(args)
    try:
        kind = format_to_write(args.output)
    except ValueError as error:
        raise UsageError(str(error)) from error
    record, request = recording_of(args, SUFFIXES), _request(args, terms)
    options = drawing_options(args, card) | {"confidence": not args.no_confidence, "unsound": args.unsound}
    elsewhere = BenchElsewhere(pickle.dumps(denoiser), card, options, request, kind.texts)
    generator, skipped = ConformerGenerator(denoiser, card, **options), Skipped()
    try:
        Bench(generator, request, kind.texts).draw([], [])
    except ValueError as error:  # such as a level that the weights do not know
        raise UsageError(str(error)) from error
    sharing = _sharing(args, generator, elsewhere)
    report = Output(args.report) if args.report else None
    make = partial(output_of, kind=kind, inputs=args.inputs)
    out = Shards(args.output, 1e6 * args.shard_size, make, args.resume) if args.shard_size else make(args.output)
    failed = Output(args.failed, args.inputs) if args.failed else None
    journal = _journal(args, card)
    with ExitStack() as stack:
        for file in (out, failed):
            if file is not None:
                stack.enter_context(file)
        trace = None if record is None else TrajectoryFile(args.trajectory, record)
        if trace is not None:
            stack.enter_context(trace.out)
        sink = Sink(out, skipped.add, say, kind.texts, trace, failed)
        draw = partial(sample_records, generator, args.inputs, request, sink, progress=not args.quiet, sharing=sharing)
        tally = draw() if journal is None else journaled(draw, journal, sink, skipped, out, failed)
    if report is not None:
        with report:
            report.write(json.dumps(asdict(tally), indent=1) + "\n")
    skipped.summary(tally.molecules, "molecules")
    for line in tally.lines():
        say(line)
    if trace is not None:
        say(f"{args.trajectory}: {trace.written} trajectories")
    return status(tally.conformers > 0, skipped.count > 0, args.strict)


def evaluate(args: argparse.Namespace) -> int:
    """Conformers scored against reference ones."""
    if args.reference is None:
        raise UsageError("conformers need a REFERENCE.sdf to be scored against")
    baselines = list(dict.fromkeys(["etkdg"] * args.etkdg + ["mmff"] * args.mmff + args.compare))
    if args.openconf_python and not any(name.startswith("openconf") for name in baselines):
        raise UsageError("--openconf-python goes with --compare openconf")
    if args.xtb and args.busters == 0:
        raise UsageError("--xtb needs conformers to work on: --busters above 0")
    from ...metrics import BaselineError
    from .evaluate import evaluate_files

    out = Output(args.output, [args.generated, args.reference]) if args.output else None
    skipped = Skipped()
    try:
        comparison, result = evaluate_files(
            args.generated,
            args.reference,
            skipped.add,
            say,
            columns=columns_of(args),
            report=args.report,
            baselines=baselines,
            others=dict(args.beside),
            openconf_python=args.openconf_python,
            deltas=args.delta,
            checked=args.busters,
            xtb=args.xtb,
            workers=args.workers,
            seed=args.seed,
        )
    except BaselineError as error:
        raise UsageError(str(error)) from error
    if out is not None:  # before the table, which a closed pipe may cut short
        with out:
            out.write(json.dumps(result, indent=1, allow_nan=False) + "\n")
    print(comparison.table())
    scored = comparison.molecules - len(comparison.failed["pyg_diffusion"])
    skipped.summary(scored, "molecules")
    return status(scored > 0, skipped.count > 0, args.strict)
