"""How a table of the site is made of a result of a benchmark: numbers, rows, machine and date."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"

# When files were made that do not say so themselves, by the history of the repository.
MADE = {
    **dict.fromkeys(("ablation", "exact_targets", "gate", "gate_draws", "house", "laplacians_large"), "2026-11-30"),
    **dict.fromkeys(("node_classification", "precompute", "sampling_exact", "sampling_conformers"), "2026-11-30"),
    **dict.fromkeys(("training_qm9", "training_platinum"), "2026-11-30"),
}
MADE_BEFORE = "2026-11-21"

TABLES: dict[str, Callable[[], str]] = {}


def table(function: Callable[[], str]) -> Callable[[], str]:
    """Registers it by its name."""
    TABLES[function.__name__] = function
    return function


def read(name: str) -> Any:
    """The result of a benchmark."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def number(value: Any, digits: int = 3) -> str:
    """Three digits, or what else it is."""
    if value is None:
        return "-"
    if isinstance(value, str | bool | int):
        return str(value)
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        text = f"{value:.{digits}g}" if abs(value) < 1000 else f"{value:,.0f}"
        return text if "e" not in text else f"{value:.0f}"
    return f"{value:.{digits - 1}e}"


def rendered(head: Sequence[str], rows: Iterable[Sequence[Any]], *sources: str) -> str:
    """A table in Markdown, and its sources below."""
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    lines += [f"| {' | '.join(x if isinstance(x, str) else number(x) for x in row)} |" for row in rows]
    return "\n".join([*lines, "", " ".join(source(name) for name in sources), ""])


def source(name: str, part: Mapping[str, Any] | None = None) -> str:
    """File, machine and date, as a sentence in small print."""
    whole = read(name) if part is None else part
    machine = whole.get("machine", whole)
    threads, torch = machine.get("threads"), machine.get("torch", "")
    where = [machine.get("cpu"), f"{threads} thread{'s' * (threads != 1)}" if threads else None, torch and f"torch {torch}"]
    date = whole.get("date") or machine.get("date") or MADE.get(name, MADE_BEFORE)
    return f"*`{name}.json`: {', '.join([str(x) for x in where if x] + [date])}.*"
