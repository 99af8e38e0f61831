"""What was generated for a molecule, and what becomes of each draw until it may be given out."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from ...chem.acceptance import Acceptance
from ...chem.ideal import Ideal
from ...chem.mend import mend
from ...chem.torsions import Torsions
from ...deadline import UNLIMITED, Allowance, OutOfTime
from ...generate import Job
from ...sample import Trajectory
from .kept import Given
from .two_stages import SecondStage

NEAR, HOPELESS = 0.1, 1.0  # steps of `chem.soundness` per atom: what is mended at once, and what never is
GIVE_UP = 4  # draws of a molecule, where all are hopeless
UNSOUND_CONFIDENCE = 0.1  # the most that an unsound conformer can have

# (index of a molecule, positions [k, N, 3], their confidences [k] where there are any) -> which of them to keep
Choice = Callable[[int, np.ndarray, np.ndarray | None], Sequence[int]]


@dataclass
class Conformers:
    """What was generated for one molecule.

    Attributes:
        positions: sound conformers of right stereo, in Å, `[k, N, 3]`, k <= asked.
        asked: how many were wanted.
        right_at_once: how many had right stereo before any resampling (the yield).
        sound_at_once: how many of those were sound.
        redrawn: draws of right stereo that were thrown away because they were unsound.
        mended: conformers that are a draw of right stereo which was unsound, and was healed (`chem.mend`).
        evaluations: network evaluations spent, resampling included; of two stages those of the first.
        notes: warnings about the molecule, such as elements the model never saw.
        problem: why there is none, where there is none.
        faults: what is unsound about each, "" for sound ones; only a generator that keeps unsound conformers has others.
        trajectories: how each was drawn, about its centre, where that was asked for; of two stages the first, so of the
            skeleton's atoms.
        confidence: of each, in (0, 1], a rank: 1 / (1 + c / .1 Å) with c as in `sample.confidence`, over heavy atoms, over
            all where there is one heavy atom or none; at most .1 for unsound ones; None where it was not asked for.
    """

    positions: np.ndarray
    asked: int
    right_at_once: int = 0
    sound_at_once: int = 0
    redrawn: int = 0
    mended: int = 0
    evaluations: int = 0
    notes: list[str] = field(default_factory=list)
    problem: str = ""
    confidence: np.ndarray | None = None
    faults: list[str] = field(default_factory=list)
    trajectories: list[Trajectory] = field(default_factory=list)

    @classmethod
    def none(cls, atoms: int, asked: int, notes: Sequence[str] = (), problem: str = "") -> "Conformers":
        """Nothing yet of a molecule."""
        return cls(np.zeros((0, atoms, 3)), asked, notes=list(notes), problem=problem)

    def keep(self, chosen: Sequence[int]) -> None:
        """Leave out all but these."""
        self.positions = self.positions[list(chosen)]
        self.confidence = None if self.confidence is None else self.confidence[list(chosen)]
        self.faults = [self.faults[k] for k in chosen]
        self.trajectories = [self.trajectories[k] for k in chosen] if self.trajectories else []


@dataclass(kw_only=True)
class ConformerJob(Job):
    """One conformer to be made; `data` is what is sampled, all atoms or the skeleton, and `signal` the positions of all.

    Attributes:
        molecule: its index.
        ideal: what sets lengths and angles that the model is not trusted with.
        second: what completes a skeleton.
        given: what is given of its geometry.
        confidence: that it has.
        excess: of `signal` beyond the bounds of soundness; 0 where it is sound.
        miss: the nearest to soundness of the draws that were not; how it was drawn is `path_of_miss`.
        incurable: whether mending that did not help.
    """

    molecule: int
    ideal: Ideal
    second: SecondStage | None = None
    given: Given = field(default_factory=Given)
    confidence: float = math.nan
    excess: float = math.inf
    miss: np.ndarray | None = None
    path_of_miss: Trajectory | None = None
    incurable: bool = False

    @property
    def hopeless(self) -> bool:
        """Whether the draw nearest to soundness is beyond the bounds all over, and more draws are a waste."""
        return self.miss is not None and self.excess > HOPELESS * len(self.miss)

    def held(self, pos: np.ndarray) -> np.ndarray:
        """Positions of all atoms `[N, 3]`, with the torsions that are held."""
        torsions = self.given.torsions
        return pos if torsions is None else torsions(pos).astype(pos.dtype)

    @property
    def sampled_torsions(self) -> Torsions | None:
        """Those of the atoms that are sampled."""
        torsions = self.given.torsions
        if torsions is None or self.second is None:
            return torsions
        return torsions.of(self.second.skeleton.kept)

    @property
    def sampled(self) -> np.ndarray:
        """Positions of the atoms that are sampled."""
        assert self.signal is not None
        return self.signal if self.second is None else self.signal[self.second.skeleton.kept]


class Judges:
    """Which draws of each molecule may be given out; counts what may not.

    Args:
        judges: of each molecule.
        results: of each molecule, where it is counted.
        fixed: of each molecule which atoms are kept, `[N]`, None where none are.
        allowance: of time, for each molecule.
        streams: of each molecule its number, as its noise has it; a fragment's is that of its molecule in the lower 32 bits.
    """

    def __init__(
        self,
        judges: Sequence[Acceptance],
        results: Sequence[Conformers],
        fixed: Sequence[np.ndarray | None],
        allowance: Allowance = UNLIMITED,
        streams: Sequence[int] = (),
    ):
        self.judges, self.results, self.fixed = judges, results, fixed
        self.allowance, self.keys = allowance, [stream & 0xFFFFFFFF for stream in streams]

    @contextmanager
    def timed(self, jobs: Sequence[ConformerJob]) -> Iterator[None]:
        """Work on jobs, whose molecules take their shares of its time; that one then has none left is its problem."""
        shares: Counter[int] = Counter()
        for job in jobs:
            shares[job.molecule] += job.size**2
        try:
            with self.allowance({self.keys[k]: share for k, share in shares.items()} if self.keys else {}):
                yield
        except OutOfTime:
            if not any(map(self.late, shares)):
                raise  # it is a caller's time
        for k in filter(self.late, shares):
            self.results[k].problem = self.allowance.reason

    def late(self, k: int) -> bool:
        """Whether a molecule has no time left."""
        return bool(self.keys) and self.allowance.out(self.keys[k])

    def accept(self, jobs: Sequence[ConformerJob], first: bool) -> None:
        """Count what was drawn, `first` of each or not, and take back the positions that may not be given out."""
        drawn = sorted((job for job in jobs if job.signal is not None), key=lambda job: job.molecule)
        for k, group in groupby(drawn, key=lambda job: job.molecule):
            own, result = list(group), self.results[k]
            right, excess = self.judges[k](np.stack([job.signal for job in own if job.signal is not None]))
            sound = right & (excess == 0)
            result.right_at_once += int(right.sum()) if first else 0
            result.sound_at_once += int(sound.sum()) if first else 0
            result.redrawn += int((right & ~sound).sum())
            for job, fits, good, beyond in zip(own, right, sound, excess, strict=True):
                if fits and beyond < job.excess:
                    job.excess, job.miss, job.incurable = float(beyond), job.signal, False
                    job.path_of_miss = job.trajectory
                if not good:
                    job.signal = None

    def mend(self, jobs: Sequence[ConformerJob], limit: float) -> None:
        """Heal the draws of jobs that are nearest to soundness, where they are beyond it by up to `limit` steps per atom."""
        curable = [job for job in jobs if job.miss is not None and not job.incurable and job.excess <= limit * len(job.miss)]
        for k, group in groupby(sorted(curable, key=lambda job: job.molecule), key=lambda job: job.molecule):
            own, judge = list(group), self.judges[k]
            misses = np.stack([job.miss for job in own if job.miss is not None])
            healed = mend(judge.gate, misses, self.fixed[k]).astype(misses.dtype)
            healed = np.stack([job.held(position) for job, position in zip(own, healed, strict=True)])
            sound = judge.right(healed) & (judge.gate.excess(healed) == 0)
            for job, position, good in zip(own, healed, sound, strict=True):
                job.incurable = not good
                if good:
                    job.signal, job.trajectory, job.excess = position, job.path_of_miss, 0.0
                    self.results[k].mended += 1

    def left(self, jobs: Sequence[ConformerJob], late: bool) -> list[ConformerJob]:
        """The jobs to draw again: without those that are hopeless, late or together with all others of their molecule."""
        waiting = [job for job in jobs if job.signal is None]
        hopeless = Counter(job.molecule for job in waiting if job.hopeless)
        lost = {k for k, number in hopeless.items() if number == self.results[k].asked >= GIVE_UP}
        return [job for job in waiting if not (job.hopeless and late) and job.molecule not in lost]

    def collect(self, k: int, jobs: Sequence[ConformerJob], rated: bool, choose: Choice | None = None) -> None:
        """Put what was made of a molecule into its result, or what is chosen of it; nothing where it has no time left."""
        judge, result = self.judges[k], self.results[k]
        if self.late(k):
            return
        made = [(job, job.signal) for job in jobs if job.signal is not None]
        result.positions = np.stack([signal for _, signal in made])
        result.faults = [judge.words(signal) if job.excess else "" for job, signal in made]
        result.trajectories = [job.trajectory for job, _ in made if job.trajectory is not None]
        if rated:
            confidence = np.array([job.confidence for job, _ in made])
            result.confidence = doubted(confidence, np.array([job.excess for job, _ in made]))
        if choose is not None:
            with self.timed(jobs):
                result.keep(choose(k, result.positions, result.confidence))
        if self.late(k):
            result.keep([])


def doubted(confidence: np.ndarray, excess: np.ndarray) -> np.ndarray:
    """Confidences `[k]` of conformers so far beyond the bounds of soundness, the unsound ones behind all others."""
    return confidence * np.where(excess > 0, UNSOUND_CONFIDENCE / (1 + excess), 1.0)
