"""ConformerGenerator: weights + process + sampler, from molecular graphs to conformers."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch

from ...chem.acceptance import Acceptance
from ...chem.fragments import fragments
from ...chem.ideal import Ideal
from ...chem.parts import not_drawn
from ...chem.remarks import unfamiliar
from ...data import Molecule
from ...deadline import UNLIMITED, Allowance
from ...denoise import Denoiser
from ...generate import DrawsSignals, Energy, GraphGenerator, Steering
from ...nn import HydrogenNet
from ...nn.hydrogen_net import DRAWS
from ...sample import Counted, Recording, Steered
from ...sample.confidence import uncertainty
from ...spectral import LaplacianOperator
from ...transforms.bond_weights import NoBondWeight
from ...weights_io import SHIPPED, Card, load_pretrained
from .apart import sample_apart, wholes_of
from .conformers import HOPELESS, NEAR, Choice, ConformerJob, Conformers, Judges
from .kept import Given, Pose, given_of, held, inpainted
from .laplacian import MoleculeLaplacian
from .recipe import TAU_RANGE
from .repelled import Repelled
from .two_stages import SecondStage, complete

CONFIDENCE_SCALE = 0.1  # Å; a conformer that denoising moves by this has confidence 1/2
MEND_AFTER = 3  # draws, where none was sound or near to it
UNSOUND = ("refuse", "keep")


@dataclass(frozen=True)
class Asked:
    """What is asked of every draw of a job, beside how many: as for `ConformerGenerator.sample`."""

    seed: int
    streams: Sequence[int]
    attempts: int
    steering: Repelled
    level: str | None
    progress: Callable[[int], object] | None
    record: Recording | None


class ConformerGenerator(GraphGenerator[ConformerJob]):
    """Samples conformers of molecules given as graphs.

    With weights of two stages (`chem.skeleton`) the first draws, is steered and rated on the heavy atoms, and the second
    gives each draw its hydrogens; otherwise all atoms are drawn at once.

    Args:
        denoiser, card, sampler, steps, device, compile, grid, temperature: as for `GraphGenerator`; 8 steps, ancestral by
            default, the best in precision by benchmarks/conformers.py.
        max_pairs: a batch holds no more than this many padded atom pairs; bounds the memory (about 2 kB each).
        confidence: give each conformer one, for two network evaluations more.
        unsound: what becomes of a conformer that is unsound after all attempts: "refuse" leaves it out, "keep" gives its
            nearest miss, with what is wrong in `Conformers.faults`.

    Raises:
        ValueError: the weights make something else, or are of one stage of two; or an option is out of range.

    Example:
        >>> from rdkit import Chem
        >>> from pyg_diffusion import ConformerGenerator
        >>> from pyg_diffusion.chem import molecule_from_mol
        >>> generator = ConformerGenerator.from_pretrained(device="cpu")
        >>> ethanol = molecule_from_mol(Chem.AddHs(Chem.MolFromSmiles("CCO")))
        >>> (made,) = generator.sample([ethanol], 3, seed=1)
        >>> made.positions.shape, made.confidence.shape
        ((3, 9, 3), (3,))
    """

    makes, nodes = "molecules", "atoms"
    default_steps = 8  # of every draw, and two for its confidence
    turned = True

    def __init__(
        self,
        denoiser: Denoiser,
        card: Card,
        sampler: DrawsSignals | None = None,
        steps: int | None = None,
        device: str | None = None,
        max_pairs: int = 60_000,
        compile: bool = False,
        confidence: bool = True,
        unsound: str = "refuse",
        grid: str | None = None,
        temperature: float | None = None,
    ):
        if unsound not in UNSOUND:
            raise ValueError(f"unsound must be one of {', '.join(UNSOUND)}, got {unsound!r}")
        super().__init__(denoiser, card, sampler, steps, device, max_pairs, compile, grid, temperature)
        self.confidence, self.unsound = confidence, unsound
        self.laplacian = MoleculeLaplacian.of(card.data)
        self.two_stages = card.data.get("hydrogens") == "second"
        if self.two_stages and self.denoiser.second is None:
            raise ValueError("these weights are of one of two stages; weights_io.join_stages makes weights of both")

    @classmethod
    def from_pretrained(cls, path: str | Path | None = None, **options: Any) -> Self:
        """From a weights file or a training run's folder; the weights that ship with the package if None."""
        return cls(*load_pretrained(SHIPPED if path is None else path), **options)

    @property
    def levels(self) -> list[str]:
        """Levels of theory that the model tells apart."""
        return list(self.card.model.get("levels", []))

    def level_for(self, molecule: Molecule) -> str:
        """The level that is sampled where none is asked for: the first that is for molecules so large, or ""."""
        limits = self.card.data.get("level_limits", {})
        fitting = (level for level in self.levels if len(molecule.z) <= limits.get(level, len(molecule.z)))
        return next(fitting, next(iter(self.levels), ""))

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
        around: Sequence[Pose | None] | None = None,
        level: str | None = None,
        diversity: float = 0.0,
        choose: Choice | None = None,
        record: Recording | None = None,
        allowance: Allowance = UNLIMITED,
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
            around: for each molecule None, or a pose that its conformers shall be near (`kept.Pose`, `sample.Renoised`) and
                are superposed on, heavy atoms on heavy atoms, unless atoms are kept.
            level: of theory that the geometries should have, one of `levels`; each molecule's own (`level_for`) if None.
            diversity: w in kT of a repulsion between the conformers of each molecule, over heavy atoms
                (`sample.ParticleGuided`); 0 draws them independently. With it they depend on one another, so on n and
                `max_pairs` as well: where they do not fit into one batch, each repels those of its batch. What is drawn
                again is drawn independently. Added to `energy`; `energy_limit` holds for the sum.
            choose: called with the index of each molecule, its conformers, `[k, N, 3]`, k <= n, and their
                confidences `[k]` or None; returns which of them to keep.
            record: keep how each conformer was drawn, in `Conformers.trajectories`: the draw that it is, or was mended from.
                Molecules of several fragments, and of one atom or two, have none.
            allowance: of time, by the index of each molecule; one that takes longer has no conformers.
        """
        counts = [int(n)] * len(molecules) if isinstance(n, Integral) else [int(k) for k in n]  # type: ignore[union-attr]
        streams = range(int(first), int(first) + len(molecules)) if isinstance(first, Integral) else list(first)  # type: ignore[arg-type]
        wanted = self._checked(molecules, counts, seed, condition, guidance, diversity, level)
        given = given_of(molecules, fixed, around)
        if self.laplacian.normalized and any(positions is not None for positions in fixed or ()):
            raise ValueError(
                "atoms to keep are known up to a translation, which is no mode of a normalised Laplacian; "
                "take weights that were trained with data.normalized: false"
            )
        wholes = wholes_of(molecules, fixed, around)
        if any(len(parts) > 1 or len(parts[0].copies) > 1 or parts[0].closed for parts in wholes):
            draw = partial(
                self.sample, seed=seed, max_attempts=max_attempts, guidance=guidance, energy=energy,
                energy_limit=energy_limit, level=level, diversity=diversity, record=record, allowance=allowance,
            )  # fmt: skip
            more = around, allowance
            return sample_apart(self, draw, molecules, wholes, counts, seed, streams, progress, condition, choose, *more)
        steering = Repelled(guidance, energy, energy_limit, diversity)
        asked = Asked(seed, streams, max_attempts, steering, level, progress, record)
        results = [Conformers.none(len(m.z), k, self.remarks(m)) for m, k in zip(molecules, counts, strict=True)]
        judges = Judges([Acceptance(m) for m in molecules], results, [of.kept for of in given], allowance, streams)
        jobs: list[ConformerJob] = []
        for k, count in enumerate(counts):
            try:
                jobs += self._jobs(k, molecules[k], count, asked, wanted, given[k])
            except NoBondWeight as error:
                results[k].problem = str(error)
        self.check(record, jobs, 3)
        tried = self._attempt(jobs, judges, asked)
        if self.confidence:
            for batch in self.batches([job for job in jobs if job.signal is not None]):
                with judges.timed(batch):
                    self.in_parts(batch, partial(self._rate, seed=seed))
        for k, result in enumerate(results):
            own = [job for job in jobs if job.molecule == k]
            result.evaluations += sum(job.evaluations for job in own)
            if any(job.signal is not None for job in own):
                judges.collect(k, own, self.confidence, choose)
                result.positions = given[k].placed(result.positions)
            elif not result.problem:
                unreached = (job.problem for job in own if job.problem)
                result.problem = next(unreached, judges.judges[k].refusal(tried[k]))
        return results

    def _checked(
        self,
        molecules: Sequence[Molecule],
        counts: Sequence[int],
        seed: int,
        condition: Mapping[str, float] | Sequence[Mapping[str, float]] | None,
        guidance: float,
        diversity: float,
        level: str | None,
    ) -> Tensor | None:
        """The conditions `[molecules, K]`, once it is clear that all that is asked can be.

        Raises:
            ValueError: it cannot.
        """
        if len(counts) != len(molecules) or any(k < 1 for k in counts):
            raise ValueError("n must be one number >= 1, or one per molecule")
        if seed < 0:
            raise ValueError(f"seed must be >= 0, got {seed}")
        for molecule in molecules:
            if not len(molecule.z):
                raise ValueError(f"{molecule.name or molecule.smiles!r}: a molecule without atoms has no conformers")
        wanted = self.conditions(condition, len(molecules))
        if guidance != 1 and wanted is None:
            raise ValueError("guidance needs a condition to follow")
        if not 0 <= diversity < float("inf"):
            raise ValueError(f"diversity must be finite and >= 0, got {diversity}")
        if level is not None and level not in self.levels:
            there_are = f"it knows {', '.join(self.levels)}" if self.levels else "it was trained without any"
            raise ValueError(f"the model has no level of theory {level!r}; {there_are}")
        return wanted

    def _jobs(
        self, k: int, molecule: Molecule, count: int, asked: Asked, wanted: Tensor | None, given: Given
    ) -> list[ConformerJob]:
        """The conformers to be made of molecule k."""
        level = self.level_for(molecule) if asked.level is None else asked.level
        second = SecondStage(molecule, level, given.known) if self.two_stages else None
        sampled = np.arange(len(molecule.z)) if second is None else second.skeleton.kept
        data = (molecule if second is None else second.skeleton.molecule).data(conformer=None)
        data = self.laplacian.weighed(data)
        if self.laplacian.spectra == "cached":  # once for all of its draws
            data.eigenvalues, data.eigenvectors = self.laplacian.spectrum(data)
        data.level = level
        if wanted is not None:
            data.condition = wanted[k : k + 1]
        if given.known is not None:
            data.fixed = given.known[sampled]
        if given.pose is not None:
            data.pose = given.pose[sampled]
        ideal = Ideal(molecule, self.card.elements, given.kept)
        job = partial(ConformerJob, data=data, molecule=k, ideal=ideal, second=second, given=given)
        return [job(key=(asked.streams[k], c)) for c in range(count)]

    def _attempt(self, jobs: Sequence[ConformerJob], judges: Judges, asked: Asked) -> list[int]:
        """Draw until all is sound or the attempts are spent; returns how many each molecule took."""
        results, waiting, steering = judges.results, list(jobs), asked.steering
        tried = [0] * len(results)
        told = asked.progress or (lambda _: None)
        for attempt in range(asked.attempts):
            if not waiting:
                break
            last = attempt + 1 == asked.attempts
            for job in waiting:
                tried[job.molecule] = attempt + 1
            if attempt:  # right stereo comes first, which a repulsion does not know of
                steering = replace(steering, diversity=0.0)
            draw = partial(self._draw, seed=asked.seed, attempt=attempt, steering=steering, record=asked.record)
            for batch in self.batches(waiting, (lambda job: job.molecule) if steering.diversity else id):
                with judges.timed(batch):
                    for job in self.in_parts(batch, draw):
                        results[job.molecule].problem = job.problem
                    judges.accept(batch, attempt == 0)
                told(sum(job.signal is not None or last or bool(results[job.molecule].problem) for job in batch))
            waiting = [job for job in waiting if job.signal is None and not results[job.molecule].problem]
            before = len(waiting)
            if asked.attempts > 1:
                late = last or attempt + 1 >= MEND_AFTER
                with judges.timed(waiting):
                    judges.mend(waiting, HOPELESS if late else NEAR)
                waiting = judges.left(waiting, late)
            told(0 if last else before - len(waiting))  # the last were counted as given up
        for job in jobs if self.unsound == "keep" else ():
            if job.signal is None and not results[job.molecule].problem:
                job.signal, job.trajectory = job.miss, job.path_of_miss
        return tried

    # The engine's parts that are otherwise for molecules

    def cost(self, size: int) -> int:
        return size**2

    def operator(self, batch: Batch) -> LaplacianOperator:
        return self.laplacian.operator(batch)

    def batches(self, jobs: Sequence[ConformerJob], together: Callable[..., Hashable] = id) -> list[list[ConformerJob]]:
        """As for all signals; those of one batch begin at one τ."""
        alike = [[job for job in jobs if job.given.tau == tau] for tau in sorted({job.given.tau for job in jobs})]
        return [batch for group in alike for batch in GraphGenerator.batches(self, group, together)]

    def span(self, jobs: Sequence[ConformerJob]) -> tuple[float, float]:
        ends = torch.tensor([TAU_RANGE[0], min(TAU_RANGE[1], jobs[0].given.tau)])
        end, start = self.denoiser.sde.schedule.t(ends).clamp(0, 1).tolist()
        return (start, end) if start > end else (1.0, 0.0)

    def steered(
        self,
        denoiser: Counted,
        jobs: list[ConformerJob],
        batch: Batch,
        operator: LaplacianOperator,
        context: Any,
        steering: Steering,
    ) -> Denoiser | Steered:
        if isinstance(steering, Repelled) and steering.diversity:
            alone = self.denoiser.net.without_condition(context) if steering.guidance != 1 else None
            steered = steering.steered(denoiser, [job.molecule for job in jobs], batch, operator, alone)
        else:
            steered = super().steered(denoiser, jobs, batch, operator, context, steering)
        return held(steered, [job.sampled_torsions for job in jobs], [job.size for job in jobs], batch.get("pose"))

    def settled(self, denoiser: Denoiser | Steered, operator: LaplacianOperator, x: Tensor) -> Tensor:
        known = inpainted(denoiser)
        return x if known is None else known.place(operator, x)

    def _draw(self, jobs: list[ConformerJob], seed: int, attempt: int, steering: Repelled, record: Recording | None) -> None:
        """Draw all atoms of the jobs' conformers in place."""
        self.draw(jobs, 3, seed, (attempt,), steering, record)
        drawn = [job.signal for job in jobs if job.signal is not None]
        if self.two_stages:
            drawn = self._completed(jobs, drawn, attempt, seed)
        for job, pos in zip(jobs, drawn, strict=True):
            job.signal = job.held(job.ideal(pos))

    @torch.no_grad()
    def _completed(
        self, jobs: Sequence[ConformerJob], positions: Sequence[np.ndarray], attempt: int, seed: int
    ) -> list[np.ndarray]:
        """The second stage: all atoms, from those that the first one drew."""
        assert isinstance(self.denoiser.second, HydrogenNet)
        stages, noise = [job.second for job in jobs if job.second is not None], []
        for job, stage in zip(jobs, stages, strict=True):
            draws = np.random.default_rng((seed, *job.key, attempt, 2))
            noise.append(draws.standard_normal((len(stage.data.z), DRAWS), dtype=np.float32))
        return complete(self.denoiser.second, stages, positions, noise, self.device)

    @torch.no_grad()
    def _rate(self, jobs: list[ConformerJob], seed: int) -> None:
        """Give the jobs' positions their confidence."""
        batch, operator, context = self.batched(jobs)
        x = torch.from_numpy(np.concatenate([job.sampled for job in jobs])).to(self.device)
        heavy = (batch.z > 1).float()
        count = torch.zeros(len(jobs), device=self.device).index_add(0, batch.batch, heavy)
        weight = torch.where(count[batch.batch] > 1, heavy, 1.0)
        noise = self.noise(jobs, 3, seed, (0, 1))  # another than any attempt had
        counted = Counted(self.denoiser)
        move = uncertainty(counted, operator, x, context, noise, weight)
        for job, value in zip(jobs, (1 / (1 + move / CONFIDENCE_SCALE)).tolist(), strict=True):
            job.confidence = value
            job.evaluations += counted.evaluations
