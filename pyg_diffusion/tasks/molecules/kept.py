"""What is given of a conformer's geometry: atoms that stay where they are, a pose to stay near, torsions to hold."""

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from ...chem.conformers import coincident
from ...chem.torsions import Torsions
from ...data import Molecule
from ...denoise import Denoiser
from ...sample import Inpainted, Renoised, Steered
from ...spectral import LaplacianOperator

# The median RMSD in Å between a pose and what it becomes once it was noised up to τ and denoised (benchmarks/spread.py).
SPREAD_OF_TAU = {
    0.01: 0.076, 0.0259: 0.108, 0.0669: 0.15, 0.173: 0.249, 0.447: 0.383, 1.16: 0.673, 2.99: 1.063, 7.73: 1.362, 20.0: 1.544,
}  # fmt: skip
LEAST, MOST = min(SPREAD_OF_TAU.values()), max(SPREAD_OF_TAU.values())  # Å
LIGHT = 1e-3  # of a hydrogen beside a heavy atom where geometries are superposed: it tells where these lie in a line


def tau_of_spread(spread: float) -> float:
    """τ up to which a pose is noised for conformers about `spread` Å from it.

    Read from the measured medians, between them along straight lines of logarithms. One curve serves drug-like molecules of
    all sizes (their quartiles lie within a third of it); stiff ones move less, however far they are noised.

    Raises:
        ValueError: less than denoising alone moves a geometry of another level, or more than a pose is remembered for.

    Example:
        >>> from pyg_diffusion.tasks.molecules.kept import tau_of_spread
        >>> tau_of_spread(0.3) < tau_of_spread(0.6) < tau_of_spread(1.0)
        True
    """
    if not LEAST <= spread <= MOST:
        raise ValueError(
            f"a spread is between {LEAST:g} Å, which another level of theory is worth, and {MOST:g} Å, "
            f"where the pose is forgotten; got {spread:g}"
        )
    tau, rmsd = (np.log(list(values)) for values in (SPREAD_OF_TAU, SPREAD_OF_TAU.values()))
    return float(np.exp(np.interp(np.log(spread), rmsd, tau)))


@dataclass(frozen=True)
class Pose:
    """A conformer to generate others near.

    Attributes:
        positions: of all atoms in Å, `[N, 3]`, anywhere in space.
        spread: how far from it they shall be, in Å (`tau_of_spread`).
        locks: bonds (i, j), atoms counted from 0, about which they have the torsion of the pose.
    """

    positions: np.ndarray
    spread: float
    locks: Sequence[tuple[int, int]] = ()

    def part(self, atoms: np.ndarray) -> "Pose":
        """That of some of its atoms, `[n]`."""
        place = {int(atom): k for k, atom in enumerate(atoms)}
        locks = [(place[i], place[j]) for i, j in self.locks if i in place and j in place]
        return Pose(self.positions[atoms], self.spread, locks)


@dataclass(frozen=True)
class Given:
    """What is given of one molecule's geometry, about an origin near it: single precision has too few digits for a shape far
    away.

    Attributes:
        known: positions of kept atoms, `[N, 3]`, NaN at the others; None where nothing is kept of any molecule of a job.
        pose: positions `[N, 3]` to stay near, and `tau` up to which these are noised.
        torsions: that are held.
        origin: in Å, `[3]`.
        weight: of each atom where conformers are superposed on the pose, `[N]`.
    """

    known: Tensor | None = None
    pose: Tensor | None = None
    tau: float = math.inf
    torsions: Torsions | None = None
    origin: np.ndarray = field(default_factory=lambda: np.zeros(3))
    weight: np.ndarray = field(default_factory=lambda: np.ones(0))

    @property
    def kept(self) -> np.ndarray | None:
        """Which atoms are kept, `[N]`."""
        return None if self.known is None else torch.isfinite(self.known).all(1).numpy()

    def placed(self, positions: np.ndarray) -> np.ndarray:
        """Conformers `[k, N, 3]` where they belong: as their kept atoms say, else superposed on the pose."""
        if len(positions) and self.pose is not None and (self.kept is None or not self.kept.any()):
            positions = np.stack([_superposed(pos, self.pose.double().numpy(), self.weight) for pos in positions])
        return positions + self.origin


def _superposed(pos: np.ndarray, onto: np.ndarray, weight: np.ndarray) -> np.ndarray:
    share = weight / weight.sum()
    here, there = share @ pos, share @ onto
    with warnings.catch_warnings():  # of atoms in a line any turn about it is as good
        warnings.simplefilter("ignore", UserWarning)
        turn, _ = Rotation.align_vectors(onto - there, pos - here, weight)
    return np.asarray(turn.apply(pos - here)) + there


def given_of(
    molecules: Sequence[Molecule],
    fixed: Sequence[np.ndarray | None] | None,
    around: Sequence[Pose | None] | None,
) -> list[Given]:
    """What is given of each molecule, as `ConformerGenerator.sample` takes it.

    Raises:
        ValueError: a shape is wrong, positions are not finite or lie in one place, or a torsion cannot be held.
    """
    for what, values in (("fixed", fixed), ("around", around)):
        if values is not None and len(values) != len(molecules):
            raise ValueError(f"{len(values)} {what} for {len(molecules)} molecules; give None for those without any")
    each = zip(molecules, fixed or [None] * len(molecules), around or [None] * len(molecules), strict=True)
    return [_given(molecule, positions, pose, fixed is not None) for molecule, positions, pose in each]


def _given(molecule: Molecule, positions: np.ndarray | None, pose: Pose | None, known: bool) -> Given:
    name, shape = repr(molecule.name or molecule.smiles), (len(molecule.z), 3)
    values = np.full(shape, np.nan) if positions is None else np.array(positions, dtype=float)
    if values.shape != shape:
        raise ValueError(f"{name}: fixed must be {shape}, got {values.shape}")
    kept = np.isfinite(values).all(1)
    origin = np.zeros(3)
    if kept.any():
        _apart(name, values, kept, "to keep ")
        origin = values[kept].mean(0)
    if pose is None:
        return Given(torch.from_numpy(values - origin).float() if known else None, origin=origin)
    given = np.array(pose.positions, dtype=float)
    if given.shape != shape or not np.isfinite(given).all():
        raise ValueError(f"{name}: a pose must be {shape} finite numbers, got {given.shape}")
    _apart(name, given, np.ones(len(given), bool), "of the pose ")
    origin = origin if kept.any() else given.mean(0)
    return Given(
        torch.from_numpy(values - origin).float() if known else None,
        torch.from_numpy(given - origin).float(),
        tau_of_spread(pose.spread),
        Torsions(molecule, pose.locks, given, kept) if pose.locks else None,
        origin,
        np.where(molecule.z > 1, 1.0, LIGHT),
    )


def _apart(name: str, positions: np.ndarray, kept: np.ndarray, which: str) -> None:
    if pair := coincident(positions[kept]):
        one, other = np.flatnonzero(kept)[list(pair)]
        raise ValueError(f"{name}: atoms {one + 1} and {other + 1} {which}lie in one place")


class Held(Steered):
    """D with torsions set to what they shall be, in every graph of a batch.

    Args:
        denoiser: any of positions.
        torsions: of each graph, None where none are held.
        sizes: atoms of each graph.
    """

    def __init__(self, denoiser: Denoiser | Steered, torsions: Sequence[Torsions | None], sizes: Sequence[int]):
        super().__init__(denoiser)
        self.torsions, self.bounds = torsions, np.cumsum(sizes)[:-1]

    def denoise(self, operator: LaplacianOperator, w_t: Tensor, t: Tensor, context: object = None) -> Tensor:
        x = operator.from_work(self.denoiser.denoise(operator, w_t, t, context))
        each = zip(np.split(x.double().cpu().numpy(), self.bounds), self.torsions, strict=True)
        turned = np.concatenate([pos if torsions is None else torsions(pos) for pos, torsions in each])
        return self.project(operator, operator.to_work(torch.from_numpy(turned).to(x)))


def held(
    denoiser: Denoiser | Steered, torsions: Sequence[Torsions | None], sizes: Sequence[int], pose: Tensor | None
) -> Denoiser | Steered:
    """The denoiser with the torsions of each graph held, begun at a pose; as it is where nothing of that is asked."""
    if any(each is not None for each in torsions):
        denoiser = Held(denoiser, torsions, sizes)
    return denoiser if pose is None else Renoised(denoiser, pose)


def inpainted(denoiser: Denoiser | Steered) -> Inpainted | None:
    """The layer of a denoiser that knows some nodes, None where there is none."""
    return next((layer for layer in _layers(denoiser) if isinstance(layer, Inpainted)), None)


def _layers(denoiser: Denoiser | Steered) -> Iterator[Denoiser | Steered]:
    yield denoiser
    while isinstance(denoiser, Steered):
        denoiser = denoiser.denoiser
        yield denoiser
