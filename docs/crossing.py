"""Writes docs/crossing.md, what goes with what, by making every recipe of it: `python docs/crossing.py`."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))

from gpu_setting import Setting

from pyg_diffusion.loss import OBJECTIVES
from pyg_diffusion.mining import MINERS
from pyg_diffusion.sample import SAMPLERS
from pyg_diffusion.sde import SCHEDULES
from pyg_diffusion.sections import RecipeError

PAGE = Path(__file__).with_name("crossing.md")
OWN = ""  # the one that the network, or the task, takes where none is named
OPTIONS = {  # beside the first of each, which goes with every network
    "objective": (OWN, *OBJECTIVES),
    "sampler": (OWN, *SAMPLERS),
    "schedule": tuple(SCHEDULES),
    "miner": tuple(MINERS),
}
ASKED = {
    "objective": "train.objectives",
    "sampler": "sample.sampler",
    "schedule": "process.schedule",
    "miner": "train.miner",
}
INTRO = """# What goes with what

Networks, objectives of the loss, samplers, schedules and miners of each task, by name. Made by `docs/crossing.py`, which
makes a recipe of every cell; `tests/test_crossing.py` trains 20 steps of cells in which every two options meet, and samples
with what was trained. In a column a network, in a row an option; a number is the reason why the two do not go together,
below the table. What goes with the network goes together.

The recipes are small, and their processes are those of the tasks' own recipes; networks that predict ε or the score of
molecules have γ = λ₀ = 0 (variance exploding)."""


@dataclass(frozen=True, order=True)
class Cell:
    """One choice of everything."""

    task: str
    network: str
    objective: str = OWN
    sampler: str = OWN
    schedule: str = next(iter(SCHEDULES))
    miner: str = next(iter(MINERS))

    def recipe(self, setting: Setting, **train: Any) -> Any:
        """It as a small recipe.

        Raises:
            RecipeError: it is refused, and why.
        """
        options = {"objectives": {self.objective: 1.0}} if self.objective else {}
        sampler = {"sampler": self.sampler, "steps": 0 if self.sampler == "ode" else 3} if self.sampler else {}
        return setting.recipe(
            self.task,
            self.network,
            process={"schedule": self.schedule},
            sample=sampler,
            miner=self.miner,
            **options,
            **train,
        )


@cache
def refusal(cell: Cell) -> str:
    """Why a cell is refused, "" where it is not."""
    try:
        cell.recipe(Setting("cpu", Path("store.h5"), Path("runs"), True))
    except RecipeError as error:
        return str(error)
    return ""


@cache
def allowed() -> dict[tuple[str, str], dict[str, tuple[str, ...]]]:
    """The options that go with each (task, network)."""
    nets = Setting("cpu", Path("store.h5"), Path("runs"), True).networks()
    return {
        net: {kind: tuple(n for n in names if not refusal(Cell(*net, **{kind: n}))) for kind, names in OPTIONS.items()}
        for net in nets
    }


def cells() -> Iterator[Cell]:
    """All that go together."""
    for net, options in allowed().items():
        yield from (Cell(*net, *values) for values in product(*options.values()))


Part = tuple[int, Any]  # place of an option, and its name; place 0 is the network


def _parts(values: Sequence[Any], together: int) -> set[tuple[Part, ...]]:
    return set(combinations(enumerate(values), together))


def covering(together: int) -> list[Cell]:
    """Few cells in which every so many options meet that can: greedily, the same each time."""
    open_: set[tuple[Part, ...]] = set()
    choices = {net: [(net,), *options.values()] for net, options in allowed().items()}
    for options in choices.values():
        for places in combinations(range(len(options)), together):
            open_ |= {tuple(zip(places, names, strict=True)) for names in product(*(options[p] for p in places))}
    found = []
    while open_:
        wanted = dict(max(open_))
        fitting = [o for o in choices.values() if all(name in o[place] for place, name in wanted.items())]
        rows = []
        for options in reversed(fitting):  # the quickest first
            row = {place: wanted.get(place) for place in range(len(options))}
            for place, names in enumerate(options):
                if place not in wanted:
                    row[place] = max(
                        names, key=lambda name, row=row, place=place: _gain({**row, place: name}, open_, together)
                    )
            rows.append(row)
        best = max(rows, key=lambda row: _gain(row, open_, together))
        values = [best[place] for place in sorted(best)]
        open_ -= _parts(values, together)
        found.append(Cell(*values[0], *values[1:]))
    return found


def _gain(row: dict[int, Any], open_: set[tuple[Part, ...]], together: int) -> int:
    """How many that are still open a row has, as far as it is filled."""
    filled = [(place, name) for place, name in sorted(row.items()) if name is not None]
    return len(open_ & set(combinations(filled, together)))


def table(task: str) -> str:
    """The table of a task, and the reasons below it."""
    nets = [net for net in allowed() if net[0] == task]
    reasons: list[str] = []
    lines = [f"| | {' | '.join(f'`{network}`' for _, network in nets)} |", "|---" * (len(nets) + 1) + "|"]
    for kind, names in OPTIONS.items():
        for name in names:
            row = []
            for net in nets:
                reason = refusal(Cell(*net, **{kind: name}))
                if reason and reason not in reasons:
                    reasons.append(reason)
                row.append(f"({reasons.index(reason) + 1})" if reason else "yes")
            lines.append(f"| `{ASKED[kind]}`: {f'`{name}`' if name else 'its own'} | {' | '.join(row)} |")
    return "\n".join([*lines, "", *(f"{k}. {reason}" for k, reason in enumerate(reasons, 1))])


def page() -> str:
    """The whole page."""
    tasks = dict.fromkeys(task for task, _ in allowed())
    most = 1
    for names in OPTIONS.values():
        most *= len(names)
    trained = sum(1 for _ in cells())
    counts = f"Of {most * len(allowed())} combinations {trained} train and sample; {len(covering(2))} are run."
    return "\n\n".join([INTRO, counts, *(f"## {task}\n\n{table(task)}" for task in tasks)]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
