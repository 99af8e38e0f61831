"""Tables of several workers: what was measured, and what follows for a billion molecules."""

from typing import Any

from tables import RESULTS, number, read, rendered, table

NAME = "workers"
NOT_YET = "Not measured yet: `python benchmarks/workers.py`.\n"
YEAR, DAY, BILLION = 365.25 * 86_400, 86_400, 1_000_000_000


def measured() -> dict[str, Any]:
    """The sets of the result, {} where there is none."""
    return read(NAME)["sets"] if (RESULTS / f"{NAME}.json").is_file() else {}


@table
def workers() -> str:
    """Molecules per second against workers."""
    rows = [
        (f"{title}, {found['molecules']}", row["method"], row["workers"], row["molecules per second"], row.get("memory, MB"))
        for title, found in measured().items()
        for row in found["rows"]
    ]
    head = ("molecules", "method", "workers, threads", "molecules per second", "memory, MB")
    return rendered(head, rows, NAME) if rows else NOT_YET


@table
def a_billion() -> str:
    """10⁹ molecules by the figures of one worker."""
    sets = measured()
    if not sets:
        return NOT_YET
    n, columns = read(NAME)["n"], []
    for title, found in sets.items():
        one = next(row for row in found["rows"] if row["workers"] == 1 and "bytes per conformer" in row)
        seconds, read_at = 1 / one["molecules per second"], found["reading"]["molecules per second"]
        columns.append(
            (
                f"like {title}",
                seconds,
                BILLION * seconds / YEAR,
                BILLION * seconds / 10_000 / DAY,
                read_at,
                read_at * seconds,
                BILLION / read_at / DAY,
                BILLION * n * one["bytes per conformer"] / 1e12,
            )
        )
    names = (
        f"10⁹ molecules, {n} conformers each",
        "core seconds per molecule: s",
        "core years: 10⁹ s / year",
        "days on 10,000 cores: 10⁹ s / 10,000",
        "molecules per second that one process reads: r",
        "workers that one reader keeps busy: r s",
        "days of reading, by one process: 10⁹ / r",
        f"TB of SDF before it is packed: 10⁹ · {n} · bytes of a conformer",
    )
    head, *rows = zip(names, *columns, strict=True)
    return rendered(head, [[row[0], *map(number, row[1:])] for row in rows], NAME)
