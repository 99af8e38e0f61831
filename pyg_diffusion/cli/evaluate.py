"""`pyg-diffusion evaluate`."""

import argparse
import json

from .common import Output, Skipped, UsageError, say, status


def run_evaluate(args: argparse.Namespace) -> int:
    if args.generated.endswith((".h5", ".hdf5")):
        return _evaluate_fields(args)
    if args.reference is None:
        raise UsageError("conformers need a REFERENCE.sdf to be scored against")
    if args.baselines:
        raise UsageError("--baselines is for fields; conformers have --compare")
    baselines = list(dict.fromkeys(["etkdg"] * args.etkdg + ["mmff"] * args.mmff + args.compare))
    if args.openconf_python and not any(name.startswith("openconf") for name in baselines):
        raise UsageError("--openconf-python goes with --compare openconf")
    from ..metrics import BaselineError
    from ..pipeline import evaluate_files

    if args.xtb and args.busters == 0:
        raise UsageError("--xtb needs conformers to work on: --busters above 0")
    out = Output(args.output, [args.generated, args.reference]) if args.output else None
    skipped = Skipped()
    try:
        comparison, result = evaluate_files(
            args.generated,
            args.reference,
            skipped.add,
            say,
            report=args.report,
            baselines=baselines,
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
    return status(scored > 0, bool(skipped.rows), args.strict)


def _evaluate_fields(args: argparse.Namespace) -> int:
    from ..pipeline_fields import evaluate_fields, table

    if args.etkdg or args.mmff or args.compare:
        raise UsageError("--etkdg, --mmff and --compare are for conformers; fields have --baselines")
    out = Output(args.output, [args.generated, args.reference or ""]) if args.output else None
    result = evaluate_fields(args.generated, args.reference, args.baselines, args.seed)
    if out is not None:
        with out:
            out.write(json.dumps(result, indent=1) + "\n")
    print(table(result))
    return 0
