"""Molecules of several fragments, and closed forms: each fragment made as the molecule it is, then put beside the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...chem.acceptance import Acceptance
from ...chem.parts import Part, join, parts_of
from ...data import Molecule
from ...deadline import UNLIMITED, Allowance, OutOfTime
from .conformers import Choice, Conformers, doubted
from .kept import Pose

if TYPE_CHECKING:
    from .generator import ConformerGenerator


def wholes_of(
    molecules: Sequence[Molecule], fixed: Sequence[np.ndarray | None] | None, around: Sequence[Pose | None] | None
) -> list[list[Part]]:
    """The fragments of each molecule, with what is given of them."""
    nothing = [None] * len(molecules)
    return [
        parts_of(molecule, positions, None if pose is None else np.asarray(pose.positions, dtype=float))
        for molecule, positions, pose in zip(molecules, fixed or nothing, around or nothing, strict=True)
    ]


def sample_apart(
    generator: ConformerGenerator,
    draw: Callable[..., list[Conformers]],
    molecules: Sequence[Molecule],
    wholes: Sequence[list[Part]],
    counts: Sequence[int],
    seed: int,
    first: Sequence[int],
    progress: Callable[[int], object] | None,
    condition: Mapping[str, float] | Sequence[Mapping[str, float]] | None,
    choose: Choice | None,
    around: Sequence[Pose | None] | None = None,
    allowance: Allowance = UNLIMITED,
) -> list[Conformers]:
    """`ConformerGenerator.sample` by fragments.

    Args:
        draw: `generator.sample` with what is asked of every fragment.
        wholes: the fragments of each molecule.
        condition: of all molecules or of each, if any has one.
        around: the pose of each molecule.
    """
    each = [condition] * len(molecules) if isinstance(condition, Mapping) else condition
    drawn = [
        (k, p, part) for k, parts in enumerate(wholes) for p, part in enumerate(parts)
        if part.closed is None and not (each and each[k] and _many(parts))
    ]  # fmt: skip
    numbers = [counts[k] * len(part.copies) for k, _, part in drawn]
    made = draw(
        [part.molecule for _, _, part in drawn],
        numbers,
        first=[first[k] + (p << 32) for k, p, _ in drawn],
        progress=None if progress is None else _scaled(progress, sum(numbers), sum(counts)),
        condition=None if each is None else [each[k] for k, _, _ in drawn],
        fixed=[part.fixed for _, _, part in drawn] if any(part.fixed is not None for _, _, part in drawn) else None,
        around=None if around is None else [_part_of(around[k], part) for k, _, part in drawn],
    )
    own = {(k, p): result for (k, p, _), result in zip(drawn, made, strict=True)}
    results = []
    for k, (molecule, parts) in enumerate(zip(molecules, wholes, strict=True)):
        result = Conformers.none(len(molecule.z), counts[k], generator.remarks(molecule))
        results.append(result)
        if each and each[k] and (_many(parts) or parts[0].closed):
            what = "is made of fragments" if _many(parts) else "has but one geometry"
            result.problem = f"{what}: no condition can be asked of it"
            continue
        pieces = [own.get((k, p)) for p in range(len(parts))]
        _join(generator, result, molecule, parts, pieces, (seed, first[k]))
        if choose is not None and len(result.positions):
            try:
                with allowance({first[k] & 0xFFFFFFFF: 1.0}):
                    result.keep(choose(k, result.positions, result.confidence))
            except OutOfTime as error:
                result.keep([])
                result.problem = str(error)
    if progress is not None and not drawn:
        progress(sum(counts))
    return results


def _join(
    generator: ConformerGenerator,
    result: Conformers,
    molecule: Molecule,
    parts: list[Part],
    made: list[Conformers | None],
    key: tuple[int, int],
) -> None:
    """Put the fragments of a molecule together, `made` of each, None where it has a closed form."""
    number = result.right_at_once = result.sound_at_once = result.asked
    positions, confidence = [], np.ones(result.asked)
    for part, own in zip(parts, made, strict=True):
        copies = len(part.copies)
        if own is None:
            positions.append(np.repeat(part.in_place()[None], result.asked * copies, axis=0))
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
        if not _many(parts):
            result.trajectories = own.trajectories[:number]
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
        if generator.confidence:
            result.confidence = doubted(confidence[:number], excess)
        result.keep(np.flatnonzero(right & ((excess == 0) | (generator.unsound == "keep"))).tolist())
        if not len(result.positions):
            result.problem = judge.refusal(1)


def _part_of(pose: Pose | None, part: Part) -> Pose | None:
    return None if pose is None else pose.part(part.copies[0])


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
