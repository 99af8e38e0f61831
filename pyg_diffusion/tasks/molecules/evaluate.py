"""Files of conformers scored against reference ones, other methods beside them."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

from tqdm import tqdm

from ...chem import Record, RecordError, read_records
from ...chem.table import FOUND, Columns
from ...metrics import BASELINES, Comparison, Evaluation, compare, draw_each, evaluate, group_records
from .sample import Tally

MESSAGES = 5  # of RDKit that an evaluation passes on, each once


def _remarked(records: Iterable[Record], what: str, say: Callable[[str], None]) -> Iterator[Record]:
    """The records; at their end `say` is told what was done to them or is wrong with their coordinates, each kind once."""
    named: dict[str, list[str]] = {}
    for record in records:
        kinds = (
            [note.partition(": ")[0] for note in record.notes] if not record.fault else ["coordinates not of the molecule"]
        )
        for kind in dict.fromkeys(kinds):
            named.setdefault(kind, []).append(
                f"{record.name}, record {record.index + 1}{': ' * bool(record.fault)}{record.fault}"
            )
        yield record
    for kind, names in named.items():
        say(f"{what} records, {kind}: {len(names)}, the first {names[0]}")


def evaluate_files(
    generated: str,
    reference: str,
    skip: Callable[[str, str], None],
    say: Callable[[str], None],
    *,
    columns: Columns = FOUND,
    report: str | None = None,
    baselines: Sequence[str] = (),
    others: Mapping[str, str] | None = None,
    openconf_python: str | None = None,
    deltas: Iterable[float] = (0.1, 0.5),
    checked: int = 50,
    xtb: bool = False,
    workers: int | None = None,
    seed: int = 0,
) -> tuple[Comparison, dict]:
    """Score generated SDF against reference SDF, twice as many conformers expected as there are references.

    Args:
        skip: called with (name, reason) for records that could not be used.
        say: called with remarks.
        columns: of tables, generated and reference ones.
        report: the report of the sampling job, whose cost goes into the table.
        baselines: names of `metrics.BASELINES` to run beside it; what one of them cannot do is its failure.
        others: files of conformers by the name of the method that made them, a column each.
        openconf_python: the interpreter that has openconf, which needs an environment of its own.
        checked: at most this many conformers of each method go to PoseBusters and the MMFF94s strain.
        xtb: the strain with GFN2-xTB as well; needs tblite.

    Returns:
        The table, and everything as a JSON-able dictionary (what `plot` reads).
    """
    workers = workers or os.cpu_count() or 1
    others = others or {}
    labels = ["pyg_diffusion", *(BASELINES[name].label for name in baselines)]
    if taken := [name for name in others if name in labels]:
        raise RecordError(f"{taken[0]!r} is the name of another column; take another one")
    strain = ("MMFF94s", "GFN2-xTB") if xtb else ("MMFF94s",)
    with ExitStack() as stack:
        # entered first: a baseline that cannot be run is said before any work
        draws = {name: stack.enter_context(BASELINES[name].open(openconf_python)) for name in baselines}
        ensembles, unusable = group_records(_remarked(read_records(reference, say=say, columns=columns), "reference", say))
        for row in unusable:
            skip(f"{row.name} (reference, record {row.index + 1})", row.reason)
        if not ensembles:
            raise RecordError(f"{reference}: no usable reference conformer")
        score = partial(evaluate, ensembles, workers=workers, checked=checked, strain=strain, seed=seed)

        def scored(path: str, what: str) -> Evaluation:
            found = score(_remarked(read_records(path, say=say, columns=columns), what, say))
            for row in found.unmatched:
                skip(f"{row.name} ({what}, record {row.index + 1})", row.reason)
            return found

        ours = scored(generated, "generated")
        for molecule in ours.molecules:
            if molecule.problem:
                skip(molecule.name, molecule.problem)
        results, extra = {"pyg_diffusion": ours}, {"pyg_diffusion": Tally.load(report).measures()} if report else {}
        results |= {name: scored(path, name) for name, path in others.items()}
        for name, draw in draws.items():
            label = BASELINES[name].label
            bar = tqdm(ensembles, desc=label, unit="", file=sys.stderr, dynamic_ncols=True)
            made = draw_each(draw, bar, [2 * e.size for e in ensembles], seed)
            for failed, reason in made.problems:
                say(f"{label}: {failed}: {reason}")
            results[label], extra[label] = score(made.records), made.cost()
    messages: Counter[str] = Counter()
    for result in results.values():
        for molecule in result.molecules:
            messages.update(molecule.messages)
    for text, count in messages.most_common(MESSAGES):
        say(f"RDKit, {count} times: {text}")
    if len(messages) > MESSAGES:
        say(f"RDKit: {len(messages) - MESSAGES} other messages")
    comparison = compare(results, tuple(deltas), extra=extra)
    molecules = {
        method: [{"name": m.name, "smiles": m.smiles, "recall": _finite(m.recall_minima)} for m in result.molecules]
        for method, result in results.items()
    }
    return comparison, {**comparison.as_dict(), "per_molecule": molecules}


def _finite(values: Iterable[float]) -> list[float | None]:
    """For JSON, which knows no infinity."""
    return [round(float(v), 4) if v < float("inf") else None for v in values]
