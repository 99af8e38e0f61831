"""`pyg-diffusion sample`: conformers, fields or inverses, whatever the weights make."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from .common import Output, Skipped, UsageError, say, status


def run_sample(args: argparse.Namespace) -> int:
    from ..pretrained import load_pretrained

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
        "--diversity": args.diversity,
        "--oversample": args.oversample,
        "--relax": args.relax,
        "--energies": args.energies,
        "--prune": args.prune,
        "--no-confidence": args.no_confidence,
        "--unsound": args.unsound != "refuse",
    }
    if kind != "molecules" and (given := [name for name, value in for_molecules.items() if value]):
        raise UsageError(f"{', '.join(given)}: for molecules, but these weights make {kind}")
    run = {"molecules": _sample_molecules, "fields": _sample_fields, "matrices": _invert_matrices}[kind]
    return run(args, weights, options)


def _sampler(args: argparse.Namespace):
    from ..sample import DDIM, Ancestral, Exponential

    if args.eta and args.sampler != "ddim":
        raise UsageError("--eta belongs to --sampler ddim")
    if args.sampler is None:
        return None  # the generator's own choice
    if args.sampler == "ddim":
        return DDIM(args.eta)
    return Ancestral() if args.sampler == "ancestral" else Exponential(int(args.sampler[-1]))


def _guides(args: argparse.Namespace, known: Sequence[str]) -> dict[str, float]:
    """Terms to steer by."""
    if set(dict(args.guide)) - set(known):
        raise UsageError(f"--guide takes {', '.join(known)}")
    return dict(args.guide)


def _sample_molecules(args: argparse.Namespace, weights: Any, options: dict[str, Any]) -> int:
    from rdkit import Chem

    from ..chem.finish import PRUNED, Finish
    from ..generate import OVERSAMPLE, Generator
    from ..pipeline import sample_records
    from ..terms import GRAPH_TERMS, MOLECULE_TERMS

    terms = _guides(args, (*GRAPH_TERMS, *MOLECULE_TERMS))
    finish = Finish(args.relax, args.energies, args.prune)
    keep = Chem.MolFromSmarts(args.keep) if args.keep else None
    if args.keep and keep is None:
        raise UsageError(f"--keep {args.keep!r}: not a SMARTS pattern")
    options |= {"confidence": not args.no_confidence, "unsound": args.unsound}
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
            diversity=args.diversity,
            oversample=args.oversample or OVERSAMPLE,
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
            f"stereo right at once {100 * tally.right_at_once / tally.drawn:.1f} %, "
            f"and sound {100 * tally.sound_at_once / tally.drawn:.1f} %"
        )
    if tally.redrawn_unsound:
        say(f"{tally.redrawn_unsound} unsound draws made anew, {tally.mended} conformers mended")
    for note, number in tally.finished.items():
        say(f"{note}: {number}")
    missing = tally.asked - tally.conformers - tally.finished.get(PRUNED, 0)
    if missing:
        say(f"{missing} conformers missing in all")
    return status(tally.conformers > 0, bool(skipped.rows), args.strict)


def _sample_fields(args: argparse.Namespace, weights: Any, options: dict[str, Any]) -> int:
    import time
    from functools import partial

    import numpy as np
    from tqdm import tqdm

    from ..data.field_file import write_fields
    from ..generate_fields import FieldGenerator
    from ..terms import GRAPH_TERMS, bind

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
    seconds, spent = time.perf_counter() - start, generator.evaluations
    write_fields(args.output, x, generator.card.data)
    if args.report:
        with Output(args.report) as out:
            out.write(json.dumps({"fields": count, "seconds": seconds, "evaluations": spent}, indent=1) + "\n")
    say(f"{args.output}: {count} fields, {1e3 * seconds / count:.1f} ms and {spent} network evaluations each")
    return 0


def _invert_matrices(args: argparse.Namespace, weights: Any, options: dict[str, Any]) -> int:
    import numpy as np
    from tqdm import tqdm

    from ..generate_matrices import MatrixInverter

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
