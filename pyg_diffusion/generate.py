"""Generator: weights + process + sampler, from molecular graphs to conformers; and its RDKit door."""

import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rdkit import Chem
from torch_geometric.data import Batch

from .chem import add_conformers, molecule_from_mol
from .chem.acceptance import Acceptance
from .chem.conformers import coincident
from .chem.fragments import fragments
from .chem.ideal import Ideal
from .chem.mend import mend
from .chem.parts import Part, join, not_drawn, parts_of
from .chem.remarks import unfamiliar
from .chem.similarity import distinct, representatives
from .data import Molecule, MoleculeData, laplacian_operator
from .denoise import Denoiser
from .hydrogens import SecondStage, complete
from .nn import HydrogenNet
from .nn.hydrogen_net import DRAWS
from .pretrained import SHIPPED, Card, compile_network, load_pretrained
from .sample import Ancestral, Counted, Inpainted, ParticleGuided, Sampler, steer, time_grid
from .sample.confidence import uncertainty
from .spectral import DenseOperator, LaplacianOperator
from .spectral.cg import ConvergenceError

DEFAULT_STEPS = 8  # of every draw, and two for its confidence
OVERSAMPLE = 2.0  # draws for each conformer that is kept, where there is a choice
CONFIDENCE_SCALE = 0.1  # Å; a conformer that denoising moves by this has confidence 1/2
NEAR, HOPELESS = 0.1, 1.0  # steps of `chem.soundness` per atom: what is mended at once, and what never is
MEND_AFTER = 3  # draws, where none was sound or near to it
GIVE_UP = 4  # draws of a molecule, where all are hopeless
UNSOUND = ("refuse", "keep")
UNSOUND_CONFIDENCE = 0.1  # the most that an unsound conformer can have
TAU_RANGE = (2e-3, 40.0)  # where sampling ends and begins: the last .05 Å of noise are left to one denoising


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

    def keep(self, chosen: Sequence[int]) -> None:
        """Leave out all but these."""
        self.positions = self.positions[list(chosen)]
        self.confidence = None if self.confidence is None else self.confidence[list(chosen)]
        self.faults = [self.faults[k] for k in chosen]


@dataclass
class _Job:
    """One conformer to be made."""

    molecule: int
    conformer: int
    data: MoleculeData  # what is sampled
    ideal: Ideal
    position: np.ndarray | None = None
    second: SecondStage | None = None  # what completes it, if there are two stages
    confidence: float = float("nan")
    problem: str = ""  # why it cannot be made
    evaluations: int = 0  # of the network, all draws and the rating
    excess: float = math.inf  # of `position` beyond the bounds of soundness; 0 where it is sound
    miss: np.ndarray | None = None  # the nearest to soundness of the draws that were not
    incurable: bool = False  # whether mending that did not help

    @property
    def size(self) -> int:
        """Atoms that are sampled."""
        return int(self.data.num_nodes or 0)

    @property
    def hopeless(self) -> bool:
        """Whether the draw nearest to soundness is beyond the bounds all over, and more draws are a waste."""
        return self.miss is not None and self.excess > HOPELESS * len(self.miss)

    @property
    def sampled(self) -> np.ndarray:
        """Their positions."""
        assert self.position is not None
        return self.position if self.second is None else self.position[self.second.skeleton.kept]


# (index of a molecule, positions [k, N, 3], their confidences [k] where there are any) -> which of them to keep
Choice = Callable[[int, np.ndarray, np.ndarray | None], Sequence[int]]


# (L, batch) -> E, a function of positions [num_nodes, 3] per graph or summed
Energy = Callable[[LaplacianOperator, Batch], Callable[[torch.Tensor], torch.Tensor]]


@dataclass(frozen=True)
class _Steering:
    """What a batch is steered by: weight of the condition, energy and the limit of its moves, strength of the repulsion."""

    guidance: float
    energy: Energy | None
    limit: float
    diversity: float


class Generator:
    """Samples conformers of molecules given as graphs.

    With weights of two stages (`chem.skeleton`) the first draws, is steered and rated on the heavy atoms, and the second
    gives each draw its hydrogens; otherwise all atoms are drawn at once.

    Args:
        denoiser, card: as `load_pretrained` returns them.
        sampler: any `Sampler`; ancestral by default, the best in precision by benchmarks/conformers.py.
        steps: times of every draw (sampler steps plus the final denoising), each of them a network evaluation; some
            samplers take more (`Sampler.calls`), and so does guidance. What was spent is counted.
        device: "cpu", "cuda"; CUDA where there is one, by default.
        max_pairs: a batch holds no more than this many padded atom pairs; bounds the memory (about 2 kB each).
        compile: torch.compile the network: a minute or two once, for large jobs.
        confidence: give each conformer one, for two network evaluations more.
        unsound: what becomes of a conformer that is unsound after all attempts: "refuse" leaves it out, "keep" gives its
            nearest miss, with what is wrong in `Conformers.faults`.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        card: Card,
        sampler: Sampler | None = None,
        steps: int = DEFAULT_STEPS,
        device: str | None = None,
        max_pairs: int = 60_000,
        compile: bool = False,
        confidence: bool = True,
        unsound: str = "refuse",
    ):
        if unsound not in UNSOUND:
            raise ValueError(f"unsound must be one of {', '.join(UNSOUND)}, got {unsound!r}")
        if steps < 2:
            raise ValueError(f"steps must be at least 2, got {steps}")
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.denoiser, self.card = denoiser.to(self.device).eval(), card
        self.sampler, self.steps, self.max_pairs = sampler or Ancestral(), steps, max_pairs
        self.confidence, self.unsound = confidence, unsound
        if card.data["kind"] != "molecules":
            raise ValueError(f"these weights make {card.data['kind']}, no molecules; see FieldGenerator")
        self.two_stages = card.data.get("hydrogens") == "second"
        if self.two_stages and self.denoiser.second is None:
            raise ValueError("these weights are of one of two stages; pretrained.join_stages makes weights of both")
        if compile:
            compile_network(self.denoiser)

    @classmethod
    def from_pretrained(cls, path: str | Path | None = None, **options) -> "Generator":
        """From a weights file or a training run's folder; the weights that ship with the package if None."""
        return cls(*load_pretrained(SHIPPED if path is None else path), **options)

    @property
    def levels(self) -> list[str]:
        """Levels of theory that the model tells apart; the first is sampled where none is asked for."""
        return list(self.card.model.get("levels", []))

    def unfamiliar(self, molecule: Molecule) -> list[str]:
        """Warnings about what the model did not see in training."""
        return unfamiliar(molecule, [len(a) for a in fragments(molecule)], self.card.elements, self.card.domain)

    def remarks(self, molecule: Molecule) -> list[str]:
        """What is unfamiliar about a molecule, and where its geometry is not the model's own."""
        return [*self.unfamiliar(molecule), *not_drawn(molecule, self.card.elements)]

    def sample(
        self,
        molecules: Sequence[Molecule],
        n: int | Sequence[int],
        seed: int = 0,
        first: int | Sequence[int] = 0,
        max_attempts: int = 10,
        progress: Callable[[int], object] | None = None,
        condition: Mapping[str, float] | Sequence[Mapping[str, float]] | None = None,
        guidance: float = 1.0,
        energy: Energy | None = None,
        energy_limit: float = 0.5,
        fixed: Sequence[np.ndarray | None] | None = None,
        level: str | None = None,
        diversity: float = 0.0,
        choose: Choice | None = None,
    ) -> list[Conformers]:
        """n sound conformers of every molecule, each of the stereo its graph asks for.

        A conformer of wrong stereo, or of a geometry that cannot be (`chem.Soundness`), is drawn again, up to `max_attempts`
        times in all. A draw that is unsound in a few places is mended instead (`chem.mend`), and so is, after three draws
        and after the last, the one that was nearest to soundness. One that is broken all over then is given up, and so are
        all of a molecule where each of its first draws is. With one attempt nothing is drawn again or mended. What still
        fails is left out, so a result may hold fewer conformers than asked for. The noise of a conformer depends on (seed,
        molecule, conformer, attempt) alone, not on how molecules are batched.

        One atom, and two, have a closed form (`chem.closed`), which takes no draw. Of a molecule of several fragments each
        is drawn, and judged, as the molecule it is; then they are put beside each other (`chem.fragments.assemble`), those
        with atoms to keep where these are. A repulsion acts between draws of one fragment. Such a molecule has the
        confidence of its least sure fragment. Where the model is not to be trusted, what it draws is moved to tabulated
        lengths and angles (`chem.ideal`), which `Conformers.notes` says.

        Args:
            n: one number, or one per molecule.
            first: index of the first molecule, for callers that work through a longer list in pieces; or of every one.
            progress: called with the number of conformers finished.
            condition: properties that the conformers should have, by name, for all molecules or one mapping each; only
                what the model was trained with (`card.model["conditions"]`).
            guidance: w of classifier-free guidance; 1 samples the model as it is, more exaggerates the condition and takes
                two network calls per evaluation.
            energy: called with (L, batch), gives a function E of positions `[num_nodes, 3]` in Å, in kT, per graph or
                summed; samples follow exp(-E) (`sample.EnergyGuided`). `partial(terms.bind, {"clashes": 10.0})` is one.
            energy_limit: largest move of an atom by the energy per evaluation, in Å.
            fixed: for each molecule None, or positions `[N, 3]` of atoms to keep, anywhere in space, with NaN at those to
                generate (`sample.Inpainted`). Two atoms in one place are an error.
            level: of theory that the geometries should have, one of `levels`; the first of them if None.
            diversity: w in kT of a repulsion between the conformers of each molecule, over heavy atoms
                (`sample.ParticleGuided`); 0 draws them independently. With it they depend on one another, so on n and
                `max_pairs` as well: where they do not fit into one batch, each repels those of its batch. What is drawn
                again is drawn independently. Added to `energy`; `energy_limit` holds for the sum.
            choose: called with the index of each molecule, its conformers, `[k, N, 3]`, k <= n, and their
                confidences `[k]` or None; returns which of them to keep.
        """
        counts = [int(n)] * len(molecules) if isinstance(n, Integral) else [int(k) for k in n]  # type: ignore[union-attr]
        if len(counts) != len(molecules) or any(k < 1 for k in counts):
            raise ValueError("n must be one number >= 1, or one per molecule")
        if seed < 0:
            raise ValueError(f"seed must be >= 0, got {seed}")
        for molecule in molecules:
            if not len(molecule.z):
                raise ValueError(f"{molecule.name or molecule.smiles!r}: a molecule without atoms has no conformers")
        asked = self._asked(condition, len(molecules))
        if guidance != 1 and asked is None:
            raise ValueError("guidance needs a condition to follow")
        if not 0 <= diversity < float("inf"):
            raise ValueError(f"diversity must be finite and >= 0, got {diversity}")
        known, origins = self._known(fixed, molecules)
        if level is not None and level not in self.levels:
            there_are = f"it knows {', '.join(self.levels)}" if self.levels else "it was trained without any"
            raise ValueError(f"the model has no level of theory {level!r}; {there_are}")
        streams = range(int(first), int(first) + len(molecules)) if isinstance(first, Integral) else list(first)  # type: ignore[arg-type]
        wholes = [parts_of(m, f) for m, f in zip(molecules, fixed or [None] * len(molecules), strict=True)]
        if any(len(parts) > 1 or len(parts[0].copies) > 1 or parts[0].closed for parts in wholes):
            return self._sample_apart(
                molecules, wholes, counts, seed, streams, max_attempts, progress, condition, choose,
                guidance=guidance, energy=energy, energy_limit=energy_limit, level=level, diversity=diversity,
            )  # fmt: skip
        results = [
            Conformers(np.zeros((0, len(m.z), 3)), k, notes=self.remarks(m)) for m, k in zip(molecules, counts, strict=True)
        ]
        judges = [Acceptance(m) for m in molecules]
        jobs = []
        for k, (molecule, count) in enumerate(zip(molecules, counts, strict=True)):
            named = level or next(iter(self.levels), "")
            second = SecondStage(molecule, named, None if known is None else known[k]) if self.two_stages else None
            data = molecule.data(conformer=None) if second is None else second.skeleton.molecule.data(conformer=None)
            data.level = named
            if asked is not None:
                data.condition = asked[k : k + 1]
            if known is not None:
                data.fixed = known[k] if second is None else known[k][second.skeleton.kept]
            ideal = Ideal(molecule, self.card.elements, None if known is None else np.isfinite(known[k].numpy()).all(1))
            jobs += [_Job(k, c, data, ideal, second=second) for c in range(count)]
        waiting, steering = jobs, _Steering(guidance, energy, energy_limit, diversity)
        tried = [0] * len(molecules)
        for attempt in range(max_attempts):
            for job in waiting:
                tried[job.molecule] = attempt + 1
            if attempt:  # right stereo comes first, which a repulsion does not know of
                steering = replace(steering, diversity=0.0)
            sampled = partial(self._run, seed=seed, first=streams, attempt=attempt, steering=steering)
            for batch in self._batches(waiting, together=steering.diversity > 0):
                for job in self._in_parts(batch, sampled):
                    results[job.molecule].problem = job.problem
                self._accept(batch, judges, results, attempt)
                if progress is not None:
                    given_up = [attempt + 1 == max_attempts or bool(results[job.molecule].problem) for job in batch]
                    progress(sum(job.position is not None or end for job, end in zip(batch, given_up, strict=True)))
            waiting = [job for job in waiting if job.position is None and not results[job.molecule].problem]
            before = len(waiting)
            if max_attempts > 1:
                late = attempt + 1 >= min(MEND_AFTER, max_attempts)
                self._mend(waiting, judges, results, known, HOPELESS if late else NEAR)
                waiting = self._left(waiting, counts, late)
            if progress is not None and attempt + 1 < max_attempts:  # else they were counted as given up
                progress(before - len(waiting))
            if not waiting:
                break
        for job in jobs if self.unsound == "keep" else ():
            if job.position is None and not results[job.molecule].problem:
                job.position = job.miss
        if self.confidence:
            for batch in self._batches([job for job in jobs if job.position is not None]):
                self._in_parts(batch, partial(self._rate, seed=seed, first=streams))
        drawn: list[list[_Job]] = [[] for _ in molecules]
        for job in jobs:
            results[job.molecule].evaluations += job.evaluations
            if job.position is not None:
                drawn[job.molecule].append(job)
        for k, (result, judge) in enumerate(zip(results, judges, strict=True)):
            if drawn[k]:
                self._collect(result, judge, drawn[k], None if choose is None else partial(choose, k))
                result.positions = result.positions + origins[k]
            elif not result.problem:
                unreached = (job.problem for job in jobs if job.molecule == k and job.problem)
                result.problem = next(unreached, judge.refusal(tried[k]))
        return results

    @staticmethod
    def _accept(jobs: list[_Job], judges: list[Acceptance], results: list[Conformers], attempt: int) -> None:
        """Count what was drawn, and take back the positions that may not be given out."""
        drawn = sorted((job for job in jobs if job.position is not None), key=lambda j: j.molecule)
        for k, group in groupby(drawn, key=lambda j: j.molecule):
            own, result = list(group), results[k]
            right, excess = judges[k](np.stack([job.position for job in own if job.position is not None]))
            sound = right & (excess == 0)
            result.right_at_once += int(right.sum()) if attempt == 0 else 0
            result.sound_at_once += int(sound.sum()) if attempt == 0 else 0
            result.redrawn += int((right & ~sound).sum())
            for job, fits, good, beyond in zip(own, right, sound, excess, strict=True):
                if fits and beyond < job.excess:
                    job.excess, job.miss, job.incurable = float(beyond), job.position, False
                if not good:
                    job.position = None

    @staticmethod
    def _mend(
        jobs: list[_Job], judges: list[Acceptance], results: list[Conformers], known: list[torch.Tensor] | None, limit: float
    ) -> None:
        """Heal the draws of jobs that are nearest to soundness, where they are beyond it by up to `limit` steps per atom."""
        curable = [job for job in jobs if job.miss is not None and not job.incurable and job.excess <= limit * len(job.miss)]
        for k, group in groupby(sorted(curable, key=lambda j: j.molecule), key=lambda j: j.molecule):
            own, judge = list(group), judges[k]
            fixed = None if known is None else np.isfinite(known[k].numpy()).all(1)
            misses = np.stack([job.miss for job in own if job.miss is not None])
            healed = mend(judge.gate, misses, fixed).astype(misses.dtype)
            sound = judge.right(healed) & (judge.gate.excess(healed) == 0)
            for job, position, good in zip(own, healed, sound, strict=True):
                job.incurable = not good
                if good:
                    job.position, job.excess = position, 0.0
                    results[k].mended += 1

    @staticmethod
    def _left(jobs: list[_Job], counts: list[int], late: bool) -> list[_Job]:
        """The jobs to draw again: without those that are hopeless, late or together with all others of their molecule."""
        waiting = [job for job in jobs if job.position is None]
        hopeless = Counter(job.molecule for job in waiting if job.hopeless)
        lost = {k for k, number in hopeless.items() if number == counts[k] >= GIVE_UP}
        return [job for job in waiting if not (job.hopeless and late) and job.molecule not in lost]

    def _collect(
        self,
        result: Conformers,
        judge: Acceptance,
        drawn: list[_Job],
        choose: Callable[[np.ndarray, np.ndarray | None], Sequence[int]] | None,
    ) -> None:
        """Put what was made into the result of its molecule."""
        result.positions = np.stack([job.position for job in drawn if job.position is not None])
        result.faults = [judge.words(job.position) if job.excess and job.position is not None else "" for job in drawn]
        if self.confidence:
            rated = np.array([job.confidence for job in drawn])
            result.confidence = self._doubted(rated, np.array([job.excess for job in drawn]))
        if choose is not None:
            result.keep(choose(result.positions, result.confidence))

    @staticmethod
    def _doubted(confidence: np.ndarray, excess: np.ndarray) -> np.ndarray:
        """Confidences `[k]` of conformers so far beyond the bounds of soundness, the unsound ones behind all others."""
        return confidence * np.where(excess > 0, UNSOUND_CONFIDENCE / (1 + excess), 1.0)

    def _sample_apart(
        self,
        molecules: Sequence[Molecule],
        wholes: list[list[Part]],
        counts: list[int],
        seed: int,
        first: Sequence[int],
        max_attempts: int,
        progress: Callable[[int], object] | None,
        condition: Mapping[str, float] | Sequence[Mapping[str, float]] | None,
        choose: Choice | None,
        **options: Any,
    ) -> list[Conformers]:
        """`sample` by fragments."""
        each = [condition] * len(molecules) if isinstance(condition, Mapping) else condition
        drawn = [
            (k, p, part) for k, parts in enumerate(wholes) for p, part in enumerate(parts)
            if part.closed is None and not (each and each[k] and _many(parts))
        ]  # fmt: skip
        numbers = [counts[k] * len(part.copies) for k, _, part in drawn]
        made = self.sample(
            [part.molecule for _, _, part in drawn],
            numbers,
            seed,
            [first[k] + (p << 32) for k, p, _ in drawn],
            max_attempts,
            None if progress is None else _scaled(progress, sum(numbers), sum(counts)),
            None if each is None else [each[k] for k, _, _ in drawn],
            fixed=[part.fixed for _, _, part in drawn] if any(part.fixed is not None for _, _, part in drawn) else None,
            **options,
        )
        own = {(k, p): result for (k, p, _), result in zip(drawn, made, strict=True)}
        results = []
        for k, (molecule, parts) in enumerate(zip(molecules, wholes, strict=True)):
            result = Conformers(np.zeros((0, len(molecule.z), 3)), counts[k], notes=self.remarks(molecule))
            results.append(result)
            if each and each[k] and (_many(parts) or parts[0].closed):
                what = "is made of fragments" if _many(parts) else "has but one geometry"
                result.problem = f"{what}: no condition can be asked of it"
                continue
            self._join(result, molecule, parts, [own.get((k, p)) for p in range(len(parts))], (seed, first[k]))
            if choose is not None and len(result.positions):
                result.keep(choose(k, result.positions, result.confidence))
        if progress is not None and not drawn:
            progress(sum(counts))
        return results

    def _join(
        self, result: Conformers, molecule: Molecule, parts: list[Part], made: list[Conformers | None], key: tuple[int, int]
    ) -> None:
        """Put the fragments of a molecule together, `made` of each, None where it has a closed form."""
        number = result.right_at_once = result.sound_at_once = result.asked
        positions, confidence = [], np.ones(result.asked)
        for part, own in zip(parts, made, strict=True):
            copies = len(part.copies)
            if own is None:
                positions.append(np.repeat(part.in_place()[None], result.asked * copies, axis=0))
                assert part.closed is not None
                continue
            positions.append(own.positions)
            result.evaluations += own.evaluations
            result.redrawn += own.redrawn
            result.mended += own.mended
            result.right_at_once = min(result.right_at_once, own.right_at_once // copies)
            result.sound_at_once = min(result.sound_at_once, own.sound_at_once // copies)
            if len(own.positions) // copies < number:
                number = len(own.positions) // copies
                reason = own.problem or "no sound conformer of right stereo"
                result.problem = reason if not _many(parts) else f"fragment {part.name}: {reason}"
            if own.confidence is not None:
                least = own.confidence[: number * copies].reshape(number, copies).min(1)
                confidence = np.minimum(confidence[:number], least)
        if number:
            result.problem = ""
            draws = [np.random.default_rng((*key, k, 0, 0, 0)) for k in range(number)]
            result.positions = join(molecule, parts, positions, draws)
            judge = Acceptance(molecule)
            right, excess = judge(result.positions)
            result.faults = [judge.words(pos) for pos in result.positions]
            if self.confidence:
                result.confidence = self._doubted(confidence[:number], excess)
            result.keep(np.flatnonzero(right & ((excess == 0) | (self.unsound == "keep"))).tolist())
            if not len(result.positions):
                result.problem = judge.refusal(1)

    def _asked(
        self, condition: Mapping[str, float] | Sequence[Mapping[str, float]] | None, count: int
    ) -> torch.Tensor | None:
        """The conditions as the network reads them, `[molecules, K]`, NaN where nothing is asked."""
        if condition is None:
            return None
        each = [condition] * count if isinstance(condition, Mapping) else list(condition)
        if len(each) != count:
            raise ValueError(f"{len(each)} conditions for {count} molecules")
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

    @staticmethod
    def _known(
        fixed: Sequence[np.ndarray | None] | None, molecules: Sequence[Molecule]
    ) -> tuple[list[torch.Tensor] | None, list[np.ndarray | float]]:
        """Positions of kept atoms about their centre, `[N, 3]` each, NaN at the others; and the centres.

        Centred before it is cast: single precision has too few digits for a shape far from the origin.
        """
        origins: list[np.ndarray | float] = [0.0] * len(molecules)
        if fixed is None:
            return None, origins
        if len(fixed) != len(molecules):
            raise ValueError(f"{len(fixed)} fixed for {len(molecules)} molecules; give None for those without any")
        known = []
        for k, (molecule, positions) in enumerate(zip(molecules, fixed, strict=True)):
            shape = len(molecule.z), 3
            values = np.full(shape, np.nan) if positions is None else np.array(positions, dtype=float)
            if values.shape != shape:
                raise ValueError(f"{molecule.name or molecule.smiles!r}: fixed must be {shape}, got {values.shape}")
            kept = np.isfinite(values).all(1)
            if kept.any():
                if pair := coincident(values[kept]):
                    one, other = np.flatnonzero(kept)[list(pair)]
                    raise ValueError(
                        f"{molecule.name or molecule.smiles!r}: atoms {one + 1} and {other + 1} to keep lie in one place"
                    )
                origins[k] = values[kept].mean(0)
                values -= origins[k]
            known.append(torch.from_numpy(values).float())
        return known, origins

    def _batches(self, jobs: list[_Job], together: bool = False) -> list[list[_Job]]:
        """Jobs of like size in one batch, each within the budget of atom pairs; `together`: a molecule's, where they fit."""
        batches: list[list[_Job]] = []
        ascending = sorted(jobs, key=lambda j: j.size)  # so the newest is the largest
        for _, group in groupby(ascending, key=lambda j: j.molecule if together else id(j)):
            piece = list(group)
            most = max(1, self.max_pairs // piece[0].size ** 2)
            if batches and len(batches[-1]) + len(piece) <= most:
                batches[-1] += piece
            else:
                batches += [piece[k : k + most] for k in range(0, len(piece), most)]
        return batches

    def _in_parts(self, jobs: list[_Job], work: Callable[[list[_Job]], None]) -> list[_Job]:
        """Do the work, in halves where it cannot be done at once; returns the jobs that the memory does not suffice for.

        Where what to keep of a job is not reached from its noise, it is left undone, with the reason: another draw may.
        """
        try:
            work(jobs)
        except RuntimeError as error:  # torch.OutOfMemoryError on CUDA; the CPU's allocator has no class of its own
            if not isinstance(error, ConvergenceError) and "memory" not in str(error):
                raise
            if len(jobs) == 1 and isinstance(error, ConvergenceError):
                jobs[0].problem = "the atoms to keep could not be kept: their positions fit no shape of the molecule"
                return []
            if len(jobs) == 1:
                jobs[0].problem = f"not enough memory for its {jobs[0].size} atoms"
                return jobs
        else:
            return []
        half = len(jobs) // 2  # outside the handler, which would keep the failed tensors alive
        return [job for part in (jobs[:half], jobs[half:]) for job in self._in_parts(part, work)]

    def _together(self, jobs: list[_Job]) -> tuple[Batch, DenseOperator, Any]:
        """The jobs' molecules in one batch, its operator, and what the network makes of it."""
        batch = Batch.from_data_list([job.data for job in jobs]).to(self.device)
        operator = laplacian_operator(batch, DenseOperator.from_laplacian)
        assert isinstance(operator, DenseOperator)
        return batch, operator, self.denoiser.net.encode(batch, operator)  # type: ignore[operator]

    def _noise(self, jobs: list[_Job], *key: int, seed: int, first: Sequence[int]) -> Callable[[], torch.Tensor]:
        """White noise that depends, for each job, on the seed, its molecule, its conformer and the key alone."""
        draws = [np.random.default_rng((seed, first[job.molecule], job.conformer, *key)) for job in jobs]

        def noise() -> torch.Tensor:
            drawn = [d.standard_normal((job.size, 3), dtype=np.float32) for d, job in zip(draws, jobs, strict=True)]
            return torch.from_numpy(np.concatenate(drawn)).to(self.device)

        return noise

    @torch.no_grad()
    def _run(self, jobs: list[_Job], seed: int, first: Sequence[int], attempt: int, steering: _Steering) -> None:
        """Sample the jobs' positions in place."""
        batch, operator, context = self._together(jobs)
        end, start = self.denoiser.sde.schedule.t(torch.tensor(TAU_RANGE)).clamp(0, 1).tolist()
        grid = time_grid(self.steps - 1, start, end) if start > end else time_grid(self.steps - 1)
        energy = None if steering.energy is None else steering.energy(operator, batch)
        alone, fixed = context.without_condition(), batch.get("fixed")
        counted = Counted(self.denoiser)
        if steering.diversity:
            member = torch.tensor([job.molecule for job in jobs], device=self.device)
            heavy = (batch.z > 1).float()
            denoiser = steer(counted, steering.guidance, alone)
            denoiser = ParticleGuided(denoiser, member, heavy, steering.diversity, energy=energy, limit=steering.limit)
        else:
            denoiser = steer(counted, steering.guidance, alone, energy, steering.limit)
        if fixed is not None:
            denoiser = Inpainted(denoiser, torch.isfinite(fixed).all(1), fixed, turned=True)
        noise = self._noise(jobs, attempt, seed=seed, first=first)
        sampled = self.sampler.sample(denoiser, operator, grid, noise, context)
        if isinstance(denoiser, Inpainted):
            sampled = denoiser.place(operator, sampled)
        positions = np.split(sampled.float().cpu().numpy(), np.cumsum([job.size for job in jobs])[:-1])
        if self.two_stages:
            positions = self._completed(jobs, positions, attempt, seed=seed, first=first)
        for job, position in zip(jobs, positions, strict=True):
            job.position = job.ideal(position)
            job.evaluations += counted.evaluations

    def _completed(
        self, jobs: list[_Job], positions: Sequence[np.ndarray], attempt: int, seed: int, first: Sequence[int]
    ) -> list[np.ndarray]:
        """The second stage: all atoms, from those that the first one drew."""
        assert isinstance(self.denoiser.second, HydrogenNet)
        stages, noise = [job.second for job in jobs if job.second is not None], []
        for job, stage in zip(jobs, stages, strict=True):
            draws = np.random.default_rng((seed, first[job.molecule], job.conformer, attempt, 2))
            noise.append(draws.standard_normal((len(stage.data.z), DRAWS), dtype=np.float32))
        return complete(self.denoiser.second, stages, positions, noise, self.device)

    @torch.no_grad()
    def _rate(self, jobs: list[_Job], seed: int, first: Sequence[int]) -> None:
        """Give the jobs' positions their confidence."""
        batch, operator, context = self._together(jobs)
        x = torch.from_numpy(np.concatenate([job.sampled for job in jobs])).to(self.device)
        heavy = (batch.z > 1).float()
        count = torch.zeros(len(jobs), device=self.device).index_add(0, batch.batch, heavy)
        weight = torch.where(count[batch.batch] > 1, heavy, 1.0)
        noise = self._noise(jobs, 0, 1, seed=seed, first=first)  # another than any attempt had
        counted = Counted(self.denoiser)
        move = uncertainty(counted, operator, x, context, noise, weight)
        for job, value in zip(jobs, (1 / (1 + move / CONFIDENCE_SCALE)).tolist(), strict=True):
            job.confidence = value
            job.evaluations += counted.evaluations


def _many(parts: list[Part]) -> bool:
    return sum(len(part.copies) for part in parts) > 1


def _scaled(progress: Callable[[int], object], total: int, wanted: int) -> Callable[[int], None]:
    """Progress in other units: of `total` steps so that they sum to `wanted`."""
    done = 0

    def told(steps: int) -> None:
        nonlocal done
        done += steps
        progress(done * wanted // total - (done - steps) * wanted // total)

    return told


_default: list[Generator] = []  # the shipped weights, loaded once


def embed_multiple_confs(
    mol: Chem.Mol,
    n: int = 10,
    seed: int = 0,
    clear_confs: bool = True,
    generator: Generator | None = None,
    prune: float = 0.0,
    level: str | None = None,
    oversample: float = OVERSAMPLE,
) -> list[int]:
    """Generate conformers and add them to `mol`, as RDKit's `EmbedMultipleConfs` does.

    Without explicit hydrogens the molecule is completed internally and only its own atoms get coordinates; for a model
    with hydrogens call `Chem.AddHs(mol)` first, as for RDKit.

    Args:
        mol: a sanitized molecule; its specified stereo is kept.
        n: how many.
        seed: same seed, same conformers.
        clear_confs: drop the conformers it has.
        generator: defaults to the shipped weights.
        prune: leave out conformers nearer than this to an earlier one, in Å (`chem.similarity.distinct`); 0 keeps all.
        level: of theory, as for `Generator.sample`.
        oversample: draw so many times n, and keep the n that stand best for all (`chem.similarity.representatives`); 1
            gives n independent samples.

    Returns:
        Ids of the new conformers, the surest first; like RDKit's fewer than n, where no sound conformer of right stereo
        was found or some were pruned.

    Raises:
        TypeError: `mol` is no RDKit molecule, such as None, which RDKit returns for what it cannot read.
        ValueError: it has no atoms or was not sanitized, or another argument is out of range.
    """
    _require_sanitized(mol)
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    if not 1 <= oversample < float("inf"):
        raise ValueError(f"oversample must be finite and >= 1, got {oversample}")
    if generator is None:
        if not _default:
            _default.append(Generator.from_pretrained())
        generator = _default[0]
    full = Chem.AddHs(mol)
    molecule = molecule_from_mol(full, conformers=False)
    result = generator.sample(
        [molecule],
        math.ceil(oversample * n),
        seed,
        level=level,
        choose=lambda _, positions, confidence: representatives(full, positions, n, confidence),
    )[0]
    for text in [*generator.unfamiliar(molecule), result.problem]:
        if text:
            warnings.warn(text, stacklevel=2)
    if clear_confs:
        mol.RemoveAllConformers()
    if result.confidence is not None:
        result.positions = result.positions[np.argsort(-result.confidence, kind="stable")]
    kept = distinct(full, result.positions, prune)
    return add_conformers(mol, result.positions[kept, : mol.GetNumAtoms()])


def _require_sanitized(mol: Any) -> None:
    if not isinstance(mol, Chem.Mol):
        made = f"; Chem.MolFromSmiles({mol!r:.60}) makes one" if isinstance(mol, str) else ""
        made = "; RDKit returns None for what it cannot read" if mol is None else made
        raise TypeError(f"mol must be an RDKit molecule, got {type(mol).__name__}{made}")
    if not mol.GetNumAtoms():
        raise ValueError("the molecule has no atoms")
    # Sanitizing sets the hybridization of all but dummies and atoms of very many neighbours.
    states = {atom.GetHybridization() for atom in mol.GetAtoms() if atom.GetAtomicNum()}
    if mol.NeedsUpdatePropertyCache() or states == {Chem.HybridizationType.UNSPECIFIED}:
        raise ValueError("the molecule was not sanitized; call Chem.SanitizeMol(mol) first, which also says what is wrong")
