"""Salts, hydrates, clusters: a molecule of several fragments taken apart, and its fragments put beside each other."""

import numpy as np
from rdkit import Chem
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..data.molecule import Molecule
from ..data.schema import ATOM_FEATURES

TOUCH = 0.75  # of the sum of the van der Waals radii: the distance at which a fragment stops
POSES = 48  # tried for each fragment
BOND_CHARGE = 0.12  # e that a bond moves per unit of electronegativity; .84 e at the oxygen of water would be .30

# Pauling's electronegativities of what has hydrogen bonds and of hydrogen; any other element counts as carbon.
_ELECTRONEGATIVITY = {1: 2.20, 6: 2.55, 7: 3.04, 8: 3.44, 9: 3.98, 15: 2.19, 16: 2.58, 17: 3.16, 35: 2.96}


def fragments(molecule: Molecule) -> list[np.ndarray]:
    """Atoms of every connected part, in ascending order, the parts by their first atoms."""
    n = len(molecule.z)
    i, j = molecule.bond_index.astype(int).T
    label = connected_components(coo_array((np.ones(len(i)), (i, j)), shape=(n, n)), directed=False)[1]
    return [np.flatnonzero(label == k) for k in dict.fromkeys(label.tolist())]


def piece(molecule: Molecule, atoms: np.ndarray) -> Molecule:
    """Whole fragments of a molecule, `atoms` in ascending order, as a molecule without conformers."""
    place = np.full(len(molecule.z), -1)
    place[atoms] = np.arange(len(atoms))

    def own(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        moved = place[index.astype(int)]
        kept = (moved >= 0).all(1)
        return moved[kept].astype(np.uint16), kept

    (bonds, bonded), (tetra, _), (ez, sided) = own(molecule.bond_index), own(molecule.tetra), own(molecule.ez)
    return Molecule(
        z=molecule.z[atoms],
        x=molecule.x[atoms],
        bond_index=bonds,
        bond_type=molecule.bond_type[bonded],
        tetra=tetra,
        ez=ez,
        ez_type=molecule.ez_type[sided],
        name=molecule.name,
        smiles=molecule.smiles if len(atoms) == len(molecule.z) else "",
    )


def formula(molecule: Molecule) -> str:
    """In Hill's order with its charge, "C2H3O2-"."""
    table = Chem.GetPeriodicTable()
    numbers, counts = np.unique(molecule.z, return_counts=True)
    carbon = 6 in numbers
    rank = {"C": "", "H": " "} if carbon else {}
    named = sorted(((table.GetElementSymbol(int(z)) if z else "*"), int(c)) for z, c in zip(numbers, counts, strict=True))
    text = "".join(f"{s}{c if c > 1 else ''}" for s, c in sorted(named, key=lambda pair: rank.get(pair[0], pair[0])))
    charge = int(formal_charges(molecule).sum())
    size = str(abs(charge)) if abs(charge) > 1 else ""
    return f"{text}{size}{'+' if charge > 0 else '-' if charge else ''}"


def formal_charges(molecule: Molecule) -> np.ndarray:
    """As the features hold them, clipped at two, `[N]`."""
    return molecule.x[:, list(ATOM_FEATURES).index("charge")].astype(int) - 2


def charges(molecule: Molecule) -> np.ndarray:
    """Formal charges and what each bond moves to its more electronegative end, in e, `[N]`: enough to tell near from far."""
    q = formal_charges(molecule).astype(float)
    value = np.array([_ELECTRONEGATIVITY.get(int(z), 2.55) for z in molecule.z])
    i, j = molecule.bond_index.astype(int).T
    moved = BOND_CHARGE * (value[j] - value[i])
    np.add.at(q, i, moved)
    np.add.at(q, j, -moved)
    return q


def assemble(
    molecule: Molecule, parts: list[np.ndarray], pos: np.ndarray, rng: np.random.Generator, anchored: list[bool]
) -> np.ndarray:
    """Put fragments beside each other, their shapes as they are.

    Anchored fragments stay where they are; without any the largest, at the origin, is the first. Then one after the other,
    first those that are charged against what is there, the large ones before the small ones: `POSES` times its foremost
    centre (a formal charge, else an atom with partial charge) is laid on one of opposite sign that stands, turned at
    random, and moved away in a random direction until no two atoms are nearer than 0.75 (r_i + r_j), van der Waals radii;
    the pose with the lowest Coulomb energy stays.

    Args:
        parts: atoms of every fragment.
        pos: each fragment's own coordinates in Å, `[N, 3]`.
        anchored: of every fragment.
    """
    table = Chem.GetPeriodicTable()
    radius = np.array([table.GetRvdw(int(z)) for z in molecule.z])
    q, formal = charges(molecule), formal_charges(molecule)
    placed = np.array(pos, dtype=float)
    standing = [k for k, fixed in enumerate(anchored) if fixed]
    waiting = [k for k, fixed in enumerate(anchored) if not fixed]
    if not standing:
        standing.append(waiting.pop(max(range(len(waiting)), key=lambda k: len(parts[waiting[k]]))))
        placed[parts[standing[0]]] -= placed[parts[standing[0]]].mean(0)
    while waiting:
        there = np.concatenate([parts[k] for k in standing])
        total = formal[there].sum()
        drawn_to = lambda k, total=total: (formal[parts[k]].sum() * total, -len(parts[k]))  # noqa: E731
        k = min(waiting, key=drawn_to)
        waiting.remove(k)
        poses = [_pose(placed, there, parts[k], radius, q, formal, rng) for _ in range(POSES)]
        placed[parts[k]] = min(poses, key=lambda pose: _coulomb(pose, q[parts[k]], placed[there], q[there]))
        standing.append(k)
    return placed if any(anchored) else placed - placed.mean(0)


def _pose(
    placed: np.ndarray,
    there: np.ndarray,
    part: np.ndarray,
    radius: np.ndarray,
    q: np.ndarray,
    formal: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """One way to lay a fragment beside those that stand, `[n, 3]`."""
    own = _pick(np.where(formal[part] != 0, 10.0 * formal[part], q[part]), None, rng)
    sign = np.sign(formal[part][own] or q[part][own])
    target = there[_pick(np.where(formal[there] != 0, 10.0 * formal[there], q[there]), -sign, rng)]
    shape = (placed[part] - placed[part][own]) @ _rotation(rng).T
    direction = _rotation(rng)[0]
    if len(there) > 1 and formal[target]:  # away from what bears the charge
        outward = placed[target] - placed[there].mean(0)
        if direction @ outward < 0:
            direction = -direction
    near = TOUCH * (radius[part][:, None] + radius[there])
    gap = shape[:, None] + placed[target] - placed[there]
    # |gap + s d|² = near² for each pair: beyond the larger root there is no contact
    along = gap @ direction
    inside = along**2 - (gap**2).sum(-1) + near**2
    roots = np.where(inside > 0, -along + np.sqrt(np.maximum(inside, 0.0)), 0.0)
    return shape + placed[target] + max(float(roots.max()), 0.0) * direction


def _pick(weight: np.ndarray, sign: float | None, rng: np.random.Generator) -> int:
    """An atom at random by the size of its charge, of this sign where there is any."""
    size = np.abs(weight) if not sign else np.maximum(weight * sign, 0.0)
    if size.sum() < 1e-6:
        size = np.ones(len(weight))
    return int(rng.choice(len(weight), p=size / size.sum()))


def _coulomb(one: np.ndarray, q: np.ndarray, others: np.ndarray, charge: np.ndarray) -> float:
    return float((q[:, None] * charge / np.linalg.norm(one[:, None] - others, axis=-1)).sum())


def _rotation(rng: np.random.Generator) -> np.ndarray:
    """Uniform on SO(3), `[3, 3]` (Shoemake 1992)."""
    a, b, c, d = (v := rng.standard_normal(4)) / np.linalg.norm(v)
    return np.array(
        [
            [1 - 2 * (c * c + d * d), 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), 1 - 2 * (b * b + d * d), 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), 1 - 2 * (b * b + c * c)],
        ]
    )
