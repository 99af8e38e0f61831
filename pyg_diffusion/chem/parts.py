"""What is made of a molecule: its fragments, equal ones once; and the molecule put together again from what was made."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ..data.molecule import Molecule
from .closed import Closed, closed_form
from .fragments import assemble, formula, fragments, piece
from .ideal import Ideal
from .remarks import named


@dataclass(frozen=True)
class Part:
    """A fragment.

    Attributes:
        molecule: the fragment alone.
        copies: its atoms in the whole, of each fragment that is equal to it.
        closed: its geometry where that is known in closed form.
        fixed: positions `[n, 3]` of atoms to keep, NaN at the others; None where there are none. A part with any is the only
            copy, as is one near a pose, which a closed form keeps.
        posed: whether it has a pose, and so a place.
    """

    molecule: Molecule
    copies: list[np.ndarray]
    closed: Closed | None = None
    fixed: np.ndarray | None = None
    posed: bool = False

    @property
    def name(self) -> str:
        """Its formula."""
        return formula(self.molecule)

    def in_place(self) -> np.ndarray:
        """The closed form, with the first kept atom where it has to be."""
        assert self.closed is not None
        if self.fixed is None:
            return self.closed.pos
        kept = np.isfinite(self.fixed).all(1)
        moved = self.closed.pos + (self.fixed[kept][0] - self.closed.pos[kept][0])
        return np.where(kept[:, None], self.fixed, moved)


def parts_of(molecule: Molecule, fixed: np.ndarray | None = None, pose: np.ndarray | None = None) -> list[Part]:
    """The fragments of a molecule, each kind once, in the order of their first atoms; both `[N, 3]` as in `Part`."""
    found: dict[object, Part] = {}
    for k, atoms in enumerate(fragments(molecule)):
        one = piece(molecule, atoms)
        own = None if fixed is None or not np.isfinite(fixed[atoms]).all(1).any() else fixed[atoms]
        key: object = one.topology() if own is None and pose is None else k
        if key not in found:
            closed = closed_form(one)
            own = pose[atoms] if own is None and pose is not None and closed is not None else own
            found[key] = Part(one, [], closed, own, pose is not None)
        found[key].copies.append(atoms)
    return list(found.values())


def not_drawn(molecule: Molecule, elements: Collection[int]) -> list[str]:
    """Remarks on what of a molecule is not as a model drew it that was trained on these elements."""
    notes, parts = [], parts_of(molecule)
    for part in parts:
        if part.closed is not None:
            if len(part.molecule.z) > 1 or len(molecule.z) == 1:
                notes.append(f"{part.name}: {part.closed.source}, in closed form: its confidence is 1")
        elif len(atoms := Ideal(part.molecule, elements).atoms):
            where = named(molecule, part.copies[0][atoms])
            if len(atoms) == len(part.molecule.z):
                where = part.name if len(parts) > 1 else "all atoms"
            notes.append(f"lengths and angles of {where} set to tabulated values")
    return notes


def join(
    molecule: Molecule, parts: Sequence[Part], made: Sequence[np.ndarray], draws: Sequence[np.random.Generator]
) -> np.ndarray:
    """Conformers of the whole, one per generator, `[k, N, 3]`.

    Args:
        made: of each part its conformers `[at least k * copies, n, 3]`.
        draws: what each conformer's arrangement is drawn with.
    """
    whole = np.zeros((len(draws), len(molecule.z), 3))
    for part, own in zip(parts, made, strict=True):
        for c, atoms in enumerate(part.copies):
            whole[:, atoms] = own[c :: len(part.copies)][: len(draws)]
    every = [atoms for part in parts for atoms in part.copies]
    if len(every) == 1:
        return whole
    anchored = [part.fixed is not None or part.posed for part in parts for _ in part.copies]
    return np.stack([assemble(molecule, every, pos, rng, anchored) for pos, rng in zip(whole, draws, strict=True)])
