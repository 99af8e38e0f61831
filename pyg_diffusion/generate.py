"""From graphs to signals: the engine that the generators of all tasks share. Knows no task, and no RDKit."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from .data import laplacian_operator
from .denoise import Denoiser
from .deprecated import moved
from .sample import (
    Ancestral,
    Counted,
    GridRequest,
    Moment,
    Recorder,
    Recording,
    Steered,
    Trajectory,
    parse_grid,
    parse_sampler,
    steer,
    time_grid,
)
from .spectral import LaplacianOperator
from .spectral.cg import ConvergenceError
from .weights_io import Card, load_pretrained

# (L, batch) -> E, a function of a signal [num_nodes, C], per graph or summed
Energy = Callable[[LaplacianOperator, Batch], Callable[[Tensor], Tensor]]


class DrawsSignals(Protocol):
    """What a `Sampler` is to a generator; `LandscapeDescent`, which descends energies, is one as well."""

    @property
    def adaptive(self) -> bool: ...
    @property
    def deterministic(self) -> bool: ...
    def moments(self, grid: Tensor) -> int | None: ...

    def sample(
        self,
        denoiser: Any,
        operator: LaplacianOperator,
        grid: Tensor,
        noise: Callable[[], Tensor],
        context: Any = None,
        temperature: float = 1.0,
        watch: Callable[[Moment], object] | None = None,
    ) -> Tensor: ...


@dataclass(kw_only=True)
class Job:
    """One signal to be drawn.

    Attributes:
        data: its graph; `condition [1, K]` in it is what is asked of it, `fixed [N, C]` what is kept, NaN elsewhere.
        key: what its noise depends on beside the seed.
        signal: what was drawn, `[N, C]`; None where nothing was, or where it may not be given out.
        evaluations: of the network, all draws together.
        problem: why it cannot be drawn.
        trajectory: how the signal was drawn, where that was asked for.
    """

    data: Data
    key: tuple[int, ...]
    signal: np.ndarray | None = None
    evaluations: int = 0
    problem: str = ""
    trajectory: Trajectory | None = None

    @property
    def size(self) -> int:
        """Nodes."""
        return int(self.data.num_nodes or 0)


@dataclass(frozen=True)
class Steering:
    """What a batch is steered by: weight of the condition, energy and the largest move of a node by it per evaluation."""

    guidance: float = 1.0
    energy: Energy | None = None
    limit: float = 0.5


UNSTEERED = Steering()
FITTED_TO = 8  # graphs that a time grid is fitted to, of the first that are drawn
J = TypeVar("J", bound=Job)


class GraphGenerator(Generic[J]):
    """Weights + process + sampler: draws signals of graphs, batched by size, each from noise of its own.

    The noise of a signal depends on the seed and its key alone, so the same seed gives the same signal, whatever the
    batching. A batch that does not fit into the memory is drawn in halves.

    Args:
        denoiser, card: as `load_pretrained` returns them.
        sampler: any `Sampler`; by default that of the recipe, with its steps and grid, or of the task.
        steps: times of every draw (sampler steps plus the final denoising), each of them a network evaluation; some
            samplers take more (`Sampler.calls`), and so does guidance. What was spent is counted. Not for a sampler that
            chooses its steps itself (`Sampler.adaptive`).
        device: "cpu", "cuda"; CUDA where there is one, by default.
        budget: a batch costs no more than this (`cost`); bounds the memory.
        compile: torch.compile the network: a minute or two once, for large jobs.
        grid: the times by name (`sample.GRIDS`), options behind a colon; even in t by default. "optimised" is fitted to the
            first graphs that are drawn, which is counted as theirs.
        temperature: θ; noise is scaled by √θ (`Sampler.iterate`); that of the recipe, or 1, by default.

    Raises:
        ValueError: an argument is out of range, or has no effect on this sampler; or the weights make something else.
    """

    makes: ClassVar[str]  # the kind of data, as a card names it
    nodes: ClassVar[str] = "nodes"  # what they are, for messages
    default_steps: ClassVar[int] = 50
    turned: ClassVar[bool] = False  # whether signals have no orientation (`sample.Inpainted`)
    budget: int = 65_536

    def __init__(
        self,
        denoiser: Denoiser,
        card: Card,
        sampler: DrawsSignals | None = None,
        steps: int | None = None,
        device: str | None = None,
        budget: int | None = None,
        compile: bool = False,
        grid: str | None = None,
        temperature: float | None = None,
    ):
        asked = card.sampling
        if sampler is None and asked.get("sampler"):
            sampler, grid = parse_sampler(asked["sampler"]), grid or asked["grid"] or None
        self.sampler = sampler or self.default_sampler()
        temperature = asked.get("temperature", 1.0) if temperature is None else temperature
        if self.sampler.adaptive and steps is not None:
            raise ValueError(f"{self.sampler} chooses its steps itself; their number has no effect on it")
        steps = asked.get("steps") or self.default_steps if steps is None else steps
        if steps < 2:
            raise ValueError(f"steps must be at least 2, got {steps}")
        if not 0 <= temperature < float("inf"):
            raise ValueError(f"temperature must be finite and >= 0, got {temperature}")
        if card.data["kind"] != self.makes:
            raise ValueError(f"these weights make {card.data['kind']}, no {self.makes}")
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.denoiser, self.card = denoiser.to(self.device).eval(), card
        self.steps, self.temperature = steps, temperature
        self._grid = None if grid is None else parse_grid(grid, self.sampler)
        self._times: dict[tuple[float, float], Tensor] = {}
        self.budget = budget or self.budget
        if compile:
            self.denoiser.net.compile()

    @classmethod
    def from_pretrained(cls, path: str | Path, **options: Any) -> Self:
        """From a weights file or a training run's folder."""
        return cls(*load_pretrained(path), **options)

    # What a task may do otherwise

    def default_sampler(self) -> DrawsSignals:
        """What draws where nothing else is asked for."""
        return Ancestral()

    def cost(self, size: int) -> int:
        """What a graph of so many nodes takes of the budget, padded to the largest of its batch."""
        return size

    def operator(self, batch: Batch) -> LaplacianOperator:
        """L of a batch."""
        return laplacian_operator(batch)

    def span(self, jobs: Sequence[J]) -> tuple[float, float]:
        """The t where sampling of a batch begins, and where it ends."""
        return 1.0, 0.0

    def steered(
        self, denoiser: Counted, jobs: list[J], batch: Batch, operator: LaplacianOperator, context: Any, steering: Steering
    ) -> Denoiser | Steered:
        """The denoiser under all that is asked of a batch."""
        energy = None if steering.energy is None else steering.energy(operator, batch)
        alone = self.denoiser.net.without_condition(context) if steering.guidance != 1 else None
        return steer(denoiser, steering.guidance, alone, energy, steering.limit, batch.get("fixed"), self.turned)

    # The engine

    def conditions(self, asked: Mapping[str, float] | Sequence[Mapping[str, float]] | None, count: int) -> Tensor | None:
        """What is asked of so many signals as the network reads it, `[count, K]`, NaN where nothing is.

        Raises:
            ValueError: the model was not conditioned on it, or it is no finite number.
        """
        if asked is None:
            return None
        each = [asked] * count if isinstance(asked, Mapping) else list(asked)
        if len(each) != count:
            raise ValueError(f"{len(each)} conditions for {count} {self.makes}")
        names = list(self.card.model.get("conditions", []))
        table = torch.full((count, len(names)), float("nan"))
        for row, wanted in enumerate(each):
            for name, value in wanted.items():
                if name not in names:
                    known = f"those are {', '.join(names)}" if names else "it has none; train with model.conditions"
                    raise ValueError(f"the model was not conditioned on {name!r} ({known})")
                if not np.isfinite(value):
                    raise ValueError(f"{name} must be finite, got {value}")
                table[row, names.index(name)] = value
        return table

    def batches(self, jobs: Sequence[J], together: Callable[[J], Hashable] = id) -> list[list[J]]:
        """Jobs of like size in one batch, each within the budget; those that `together` maps to one value where they fit."""
        batches: list[list[J]] = []
        ascending = sorted(jobs, key=lambda job: job.size)  # so the newest is the largest
        for _, group in groupby(ascending, key=together):
            piece = list(group)
            most = max(1, self.budget // max(1, self.cost(piece[0].size)))
            if batches and len(batches[-1]) + len(piece) <= most:
                batches[-1] += piece
            else:
                batches += [piece[k : k + most] for k in range(0, len(piece), most)]
        return batches

    def in_parts(self, jobs: list[J], work: Callable[[list[J]], None]) -> list[J]:
        """Do the work, in halves where it cannot be done at once; returns the jobs that the memory does not suffice for.

        Where what to keep of a job is not reached from its noise, it is left undone, with the reason: another draw may.
        """
        try:
            work(jobs)
        except RuntimeError as error:  # torch.OutOfMemoryError on CUDA; the CPU's allocator has no class of its own
            if not isinstance(error, ConvergenceError) and "memory" not in str(error):
                raise
            if len(jobs) == 1 and isinstance(error, ConvergenceError):
                jobs[0].problem = f"the {self.nodes} to keep could not be kept: they fit nothing that the model can make"
                return []
            if len(jobs) == 1:
                jobs[0].problem = f"not enough memory for its {jobs[0].size} {self.nodes}"
                return jobs
        else:
            return []
        half = len(jobs) // 2  # outside the handler, which would keep the failed tensors alive
        return [job for part in (jobs[:half], jobs[half:]) for job in self.in_parts(part, work)]

    def batched(self, jobs: Sequence[J]) -> tuple[Batch, LaplacianOperator, Any]:
        """The jobs' graphs in one batch, its operator, and what the network makes of it."""
        batch = Batch.from_data_list([job.data for job in jobs]).to(self.device)
        operator = self.operator(batch)
        with torch.no_grad(), torch.autocast(batch.batch.device.type, torch.bfloat16, enabled=self.denoiser.autocast):
            return batch, operator, self.denoiser.net.encode(batch, operator)

    def noise(self, jobs: Sequence[J], channels: int, seed: int, key: Sequence[int] = ()) -> Callable[[], Tensor]:
        """White noise `[num_nodes, C]` that depends, for each job, on the seed, its own key and this one alone."""
        draws = [np.random.default_rng((seed, *job.key, *key)) for job in jobs]

        def noise() -> Tensor:
            drawn = [d.standard_normal((job.size, channels), dtype=np.float32) for d, job in zip(draws, jobs, strict=True)]
            return torch.from_numpy(np.concatenate(drawn)).to(self.device)

        return noise

    def times(self, jobs: Sequence[J], channels: int) -> Tensor:
        """The time grid, decreasing, `[steps]`, or its ends; one that has to be fitted is, to the first of these jobs."""
        start, end = self.span(jobs)
        if self.sampler.adaptive:
            return time_grid(1, start, end)
        if self._grid is None:
            return time_grid(self.steps - 1, start, end)
        if (start, end) not in self._times:
            few, counted = jobs[:FITTED_TO], Counted(self.denoiser)
            _, operator, context = self.batched(few)
            noise = self.noise(few, channels, 0, (0, 3))()  # another than any draw has
            asked = GridRequest(self.steps - 1, start, end, self.sampler, counted, operator, noise, context)
            self._times[start, end] = self._grid(asked)
            for job in few:
                job.evaluations += counted.evaluations
        return self._times[start, end]

    @torch.no_grad()
    def draw(
        self,
        jobs: list[J],
        channels: int,
        seed: int,
        key: Sequence[int] = (),
        steering: Steering = UNSTEERED,
        record: Recording | None = None,
    ) -> None:
        """Draw the jobs' signals in place, in one batch; `key` tells one draw of a job from another."""
        grid = self.times(jobs, channels)
        batch, operator, context = self.batched(jobs)
        counted = Counted(self.denoiser)
        denoiser = self.steered(counted, jobs, batch, operator, context, steering)
        noise, watch = self.noise(jobs, channels, seed, key), None
        if record is not None:
            watch = Recorder(record, denoiser, operator, self.sampler.moments(grid))
        x = self.sampler.sample(denoiser, operator, grid, noise, context, self.temperature, watch)
        x = self.settled(denoiser, operator, x).float().cpu()
        if watch is not None:
            for job, trajectory in zip(jobs, watch.trajectories(), strict=True):
                job.trajectory = trajectory
        for job, signal in zip(jobs, np.split(x.numpy(), np.cumsum([job.size for job in jobs])[:-1]), strict=True):
            job.signal = signal
            job.evaluations += counted.evaluations

    def check(self, record: Recording | None, jobs: Sequence[J], channels: int) -> None:
        """Whether there is room for the trajectories of all jobs; ValueError where not."""
        if record is not None:
            moments = self.sampler.moments(torch.empty(self.steps))
            record.check(sum(job.size for job in jobs) * channels, record.kept(moments))

    def draw_all(
        self,
        jobs: Sequence[J],
        channels: int,
        seed: int,
        steering: Steering = UNSTEERED,
        progress: Callable[[int], object] | None = None,
        record: Recording | None = None,
    ) -> None:
        """Draw every job once, batch by batch; `progress` is told how many each time.

        Raises:
            ValueError: more would be recorded than there is room for.
            RuntimeError: one cannot be drawn, and why.
        """
        self.check(record, jobs, channels)
        for batch in self.batches(jobs):
            self.in_parts(batch, partial(self.draw, channels=channels, seed=seed, steering=steering, record=record))
            for job in batch:
                if job.problem:
                    raise RuntimeError(job.problem)
            if progress is not None:
                progress(len(batch))

    def settled(self, denoiser: Denoiser | Steered, operator: LaplacianOperator, x: Tensor) -> Tensor:
        """What becomes of a batch's signals before they are taken apart."""
        return x


_MOLECULES = "tasks.molecules"
__getattr__ = moved(
    __name__,
    {
        "Generator": f"{_MOLECULES}.generator:ConformerGenerator",
        "Conformers": f"{_MOLECULES}.conformers",
        "embed_multiple_confs": f"{_MOLECULES}.embed",
        "OVERSAMPLE": f"{_MOLECULES}.embed",
    },
)
