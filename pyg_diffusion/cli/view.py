"""`pyg-diffusion view`: a page to look at conformers."""

import argparse
import sys
from functools import partial
from pathlib import Path

from tqdm import tqdm

from ..console import Output, Skipped, UsageError, say, status


def run(args: argparse.Namespace) -> int:
    """Writes the page; returns the exit status."""
    from ..chem.formats import parsed, raw_records
    from ..chem.records import RecordError
    from ..viewer.collection import Collection
    from ..viewer.html_page import left_out, page

    for name in args.inputs:
        if name != "-" and not Path(name).is_file():
            raise UsageError(f"{name}: no such file")
    out, skipped, collection = Output(args.output, args.inputs), Skipped(), Collection(args.most)
    bar = partial(tqdm, unit="", disable=args.quiet, file=sys.stderr, dynamic_ncols=True)
    try:
        for name in args.inputs:
            for index, (kind, raw) in enumerate(bar(raw_records(name, say=say), desc="read")):
                if collection.full:
                    collection.beyond += 1
                else:
                    collection.add(parsed(kind, index, raw, need_3d=True), skipped.add)
    except RecordError as error:
        raise UsageError(str(error)) from error
    skipped.summary(collection.shown + collection.left_out + collection.beyond, "records")
    if not collection.shown:
        say("nothing to look at, so no page is written; pyg-diffusion sample makes conformers of SMILES")
        return 1
    title = args.title or ", ".join("stdin" if name == "-" else Path(name).name for name in args.inputs)
    notes = [f"{skipped.count} records could not be shown, such as {', '.join(skipped.first)}"] if skipped.count else []
    text = page(collection, title, notes, partial(bar, desc="drawn"))
    with out:
        out.write(text)
    for line in left_out(collection):
        say(f"{args.output}: {line}")
    size = f"{len(text) / 1e6:.1f} MB"
    say(f"{args.output}: {len(collection.molecules)} molecules, {collection.shown} conformers, {size}")
    return status(True, skipped.count > 0, args.strict)
