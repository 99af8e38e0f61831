"""What is looked at: the molecules of a file, each with a depiction, its conformers laid on the first, and their RMSD."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdDepictor, rdMolAlign
from rdkit.Chem.Draw import rdMolDraw2D

from ..chem.axial import axial_key
from ..chem.conformers import with_positions
from ..chem.heavy import heavy_atoms, identity_smiles
from ..chem.records import Record, guarded
from ..chem.writing import sdf_text
from ..metrics.validity import atom_map, symmetrized

MOST = 100  # conformers of a molecule
ROOM = 64_000_000  # characters of records in all; a browser unpacks and reads that in a few seconds
MATCHES = 200  # symmetric atom orders tried when two conformers are compared
COMPARED = 200_000  # pairs of conformers times symmetric orders, of a molecule: a second or two
DRAWN = 250  # heavy atoms; a depiction of more shows nothing
SIZE = (220, 150)  # of a depiction, in pixels


@dataclass
class Shown:
    """A molecule to look at.

    Attributes:
        name: of its first record.
        smiles: canonical, of its graph and stereo.
        mol: the first record's, with a conformer per record in its atom order.
        records: each as SDF, as it was read.
        fields: its data fields.
        orders: for each record the atom that each of `mol`'s is there; None where it is the same.
        remarks: on what was done to them or is wrong with them.
        left_out: further conformers it has.
    """

    name: str
    smiles: str
    mol: Chem.Mol
    records: list[str] = field(default_factory=list)
    fields: list[dict[str, str]] = field(default_factory=list)
    orders: list[list[int] | None] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    left_out: int = 0

    def add(self, record: Record, mol: Chem.Mol, order: np.ndarray, text: str) -> None:
        """A further record, whose atom `order[k]` is atom k of `mol`."""
        placed = mol.GetConformer().GetPositions()[order]
        conformer = Chem.Conformer(len(placed))
        conformer.Set3D(True)
        conformer.SetPositions(placed)
        self.mol.AddConformer(conformer, assignId=True)
        self.records.append(text)
        self.fields.append({name: str(value) for name, value in mol.GetPropsAsDict(autoConvertStrings=False).items()})
        self.orders.append(None if (order == np.arange(len(order))).all() else order.tolist())
        for remark in [*record.notes, record.fault]:
            if remark and remark not in self.remarks:
                self.remarks.append(remark)

    def depiction(self) -> str:
        """As SVG; "" where it cannot be drawn."""
        drawn: list[str] = []
        with guarded(self.name, lambda *_: None), rdBase.BlockLogs():
            flat = heavy_atoms(self.mol)
            flat.RemoveAllConformers()
            if flat.GetNumAtoms() <= DRAWN:
                rdDepictor.Compute2DCoords(flat)
                canvas = rdMolDraw2D.MolDraw2DSVG(*SIZE)
                canvas.drawOptions().clearBackground = False  # type: ignore[assignment]
                try:
                    ready = rdMolDraw2D.PrepareMolForDrawing(flat, addChiralHs=False)
                except ValueError:  # no Kekulé structure, as for some metal complexes
                    ready = rdMolDraw2D.PrepareMolForDrawing(flat, kekulize=False, addChiralHs=False)
                canvas.drawOptions().prepareMolsBeforeDrawing = False  # type: ignore[assignment]
                canvas.DrawMolecule(ready)
                canvas.FinishDrawing()
                drawn.append(canvas.GetDrawingText())
        return drawn[0] if drawn else ""

    def distances(self) -> tuple[list[float], bool]:
        """Best RMSD over heavy atoms in Å between its first conformers, (1, 0), (2, 0), (2, 1), ..., as many as `COMPARED`
        allows; and whether there are more symmetric orders than were tried, so that they are upper bounds."""
        heavy, found = heavy_atoms(self.mol), []
        graph = symmetrized(heavy)
        with rdBase.BlockLogs():
            orders = graph.GetSubstructMatches(graph, uniquify=False, useChirality=False, maxMatches=MATCHES + 1)
        tried = min(max(1, len(orders)), MATCHES)
        count = min(heavy.GetNumConformers(), int((1 + math.sqrt(1 + 8 * COMPARED / tried)) / 2))
        first = with_positions(heavy, np.array([heavy.GetConformer(k).GetPositions() for k in range(count)]))
        if heavy.GetNumAtoms() == 1:
            return [0.0] * (count * (count - 1) // 2), False
        with guarded(self.name, lambda *_: None):
            found = [round(float(v), 3) for v in rdMolAlign.GetAllConformerBestRMS(first, maxMatches=MATCHES)]
        return found, len(orders) > MATCHES


def moves_of(mol: Chem.Mol) -> list[list[float]]:
    """For each conformer of a molecule the first three rows `[R | t]`, row by row, of the motion that lays its heavy atoms
    on the first's: symmetric atoms interchanged, no reflection."""
    heavy, found = heavy_atoms(mol), [np.eye(4)]
    first, *others = [c.GetId() for c in heavy.GetConformers()]
    for k in others:
        motion = found[0]
        with guarded("", lambda *_: None):
            _, motion, _ = rdMolAlign.GetBestAlignmentTransform(heavy, heavy, k, first, maxMatches=MATCHES)
        found.append(motion if np.isfinite(motion).all() else found[0])
    return [[round(float(v), 6) for v in motion[:3].ravel()] for motion in map(np.asarray, found)]


class Collection:
    """The molecules of records, as many as there is room for.

    Args:
        most: conformers of a molecule; further ones are counted.
        room: characters of records in all; what comes when it is full is counted.

    Attributes:
        molecules: by name and graph, in the order of their first records.
        beyond: records that there was no room for, which who reads them counts.
    """

    def __init__(self, most: int = MOST, room: int = ROOM):
        self.most, self.room = most, room
        self.beyond = 0
        self._found: dict[tuple[str, ...], Shown] = {}

    @property
    def molecules(self) -> list[Shown]:
        return list(self._found.values())

    @property
    def shown(self) -> int:
        """Conformers in all."""
        return sum(len(molecule.records) for molecule in self.molecules)

    @property
    def full(self) -> bool:
        """Whether there is no room left, so that a record need not be read."""
        return self.room <= 0

    @property
    def left_out(self) -> int:
        """Conformers beyond the most of their molecules."""
        return sum(shown.left_out for shown in self._found.values())

    def add(self, record: Record, skip: Callable[[str, str], object]) -> None:
        """Take a record; `skip` is told (name, reason) of what cannot be looked at."""
        if record.mol is None:
            skip(record.name, record.problem)
            return
        with guarded(record.name, skip):
            self._add(record, record.mol)

    def _add(self, record: Record, mol: Chem.Mol) -> None:
        positions = mol.GetConformer().GetPositions() if mol.GetNumConformers() else np.full((1, 3), np.nan)
        if not np.isfinite(positions).all():
            raise ValueError("no usable coordinates")
        key: tuple[str, ...] = (record.own_name, f"{identity_smiles(mol)} {axial_key(mol)}".strip())
        shown = self._found.get(key)
        order = np.arange(mol.GetNumAtoms()) if shown is None else atom_map(shown.mol, mol)
        if order is None:  # of the same SMILES but drawn otherwise: a molecule of its own
            key, shown, order = (*key, str(record.index)), None, np.arange(mol.GetNumAtoms())
        if shown is None:
            shown = Shown(record.name, key[1], with_positions(mol, np.empty((0, *positions.shape))))
            self._found[key] = shown
        if len(shown.records) == self.most:
            shown.left_out += 1
            return
        text = sdf_text(mol, -1)
        self.room -= len(text)
        shown.add(record, mol, order, text)


def collected(records: Iterable[Record], most: int = MOST, skip: Callable[[str, str], object] = print) -> Collection:
    """The molecules of records, `most` conformers of each.

    Example:
        >>> from pyg_diffusion.chem import read_records
        >>> from pyg_diffusion.viewer import collected
        >>> found = collected(read_records("datasets/qm9_ensembles_20.sdf.gz"), most=10)
        >>> len(found.molecules), len(found.molecules[0].records), found.molecules[0].left_out
        (20, 10, 1)
    """
    collection = Collection(most)
    for record in records:
        collection.add(record, skip)
    return collection
