"""`prepare` of trajectories."""

import argparse

from ...console import UsageError, say, status

OTHERS = ("smiles_column", "name_column", "conformers", "window", "keep", "split", "split_by", "workers")
MINE = ("template", "select", "stride")
NO_MOLECULES = (".xtc", ".trr", ".dcd", ".nc", ".netcdf")  # suffixes of trajectories that are nothing else


def trajectories(args: argparse.Namespace) -> bool:
    """Whether the inputs are trajectories of a topology.

    Raises:
        UsageError: the options do not go together.
    """
    if args.top:
        if other := [name for name in OTHERS if getattr(args, name) is not None]:
            raise UsageError(f"--{other[0].replace('_', '-')} is not for trajectories, so not with --top")
        if "-" in args.inputs:
            raise UsageError("--top: trajectories are files; stdin is none")
        return True
    if alone := [name for name in MINE if getattr(args, name) is not None]:
        raise UsageError(f"--{alone[0]} goes with --top TOP.pdb")
    if bare := [name for name in args.inputs if name.lower().endswith(NO_MOLECULES)]:
        raise UsageError(f"{bare[0]}: a trajectory says no molecule: give its topology, --top TOP.pdb")
    return False


def prepare_frames(args: argparse.Namespace) -> int:
    """A store of the frames."""
    from ...chem.frames import prepare_frames as run

    report = run(args.inputs, args.output, args.top, args.template or "", args.select or "", args.stride or 1, args.level)
    for note in report.notes:
        say(note)
    say(f"{args.output}: {report.molecules} molecules, {report.conformers} conformers of {report.frames} frames")
    return status(report.molecules > 0, report.left_out > 0, args.strict)
