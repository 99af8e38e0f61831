"""Frames of molecular dynamics as conformers of the molecules that a topology names; mdtraj reads both.

Solvent is left out, molecules are made whole across periodic boxes, nanometres become Å. Bonds and their orders are those of
a template, or of RDKit's reader of PDB, which knows standard residues and CONECT lines, or follow from the coordinates.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem

from ..data.molecule import Molecule
from ..data.store_layout import StoreError
from ..data.store_write import write_store
from ..extras import require
from .coordinates import LENGTHS
from .features import molecule_from_mol
from .formats import is_file, read_records
from .frame_bonds import components, molecule_of, residues_of
from .records import Record, RecordError, reason_of
from .stereo import Stereo, check_stereo, stereo_of

SUFFIXES = (".xtc", ".trr", ".dcd", ".nc", ".netcdf", ".pdb", ".pdb.gz")  # of trajectories
CHUNK = 1000  # frames held in memory as they are read
_RADII = np.array([Chem.GetPeriodicTable().GetRcovalent(z) for z in range(119)])


@dataclass
class FramesReport:
    """What `prepare_frames` did.

    Attributes:
        frames: read, used or not.
        molecules, conformers: written to the store.
        left_out: conformers that are none.
        notes: what is to be said, a line each.
    """

    frames: int = 0
    molecules: int = 0
    conformers: int = 0
    left_out: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass
class _Part:
    """A molecule of the topology, and its conformers so far.

    Attributes:
        copies: its atoms among those that are kept, for each molecule that is the same.
        pos: `[frames · copies, N, 3]` in Å of every chunk, in order of time.
        wrong: frames of it that are no geometry, and those of other stereo.
    """

    molecule: Molecule
    stereo: Stereo
    copies: list[np.ndarray]
    pos: list[np.ndarray] = field(default_factory=list)
    wrong: Counter[str] = field(default_factory=Counter)

    def take(self, frames: np.ndarray) -> None:
        """Conformers of further frames `[F, atoms, 3]` in Å."""
        each = np.stack([frames[:, atoms] for atoms in self.copies], 1)
        pos = each.reshape(-1, *each.shape[2:])
        ends = self.molecule.bond_index.astype(int)
        radii = _RADII[self.molecule.z[ends].astype(int)].sum(1)
        ratio = np.linalg.norm(pos[:, ends[:, 0]] - pos[:, ends[:, 1]], axis=-1) / radii
        finite = np.isfinite(pos).all((1, 2))
        bound = ((ratio > LENGTHS[0]) & (ratio < LENGTHS[1])).all(1)
        right = check_stereo(self.stereo, pos)
        self.wrong["coordinates that are no numbers"] += int((~finite).sum())
        self.wrong["a bond that is none"] += int((finite & ~bound).sum())
        self.wrong["other stereo than the first frame"] += int((finite & bound & ~right).sum())
        self.pos.append(pos[finite & bound & right])


def prepare_frames(
    trajectories: Sequence[str],
    output: str,
    top: str,
    template: str = "",
    select: str = "",
    stride: int = 1,
    level: str = "",
) -> FramesReport:
    """Write the frames of trajectories to the store `output`, as conformers in order of time.

    Every molecule of the topology that is no solvent (water, or one atom alone) is one of the store; equal ones are one,
    with a conformer of each in every frame. Frames that are no geometry of it, or of other stereo than the first, are left
    out and counted.

    Args:
        trajectories: XTC, TRR, DCD, NetCDF or PDB, one after the other.
        top: PDB, or another topology that mdtraj reads (GRO, PRMTOP, PSF, ...).
        template: SMILES, or a file of molecules, that says bonds, their orders and charges of molecules of the topology.
        select: which atoms are kept, in mdtraj's language; all but solvent if not given.
        stride: every so many frames.
        level: of theory of the conformers.

    Raises:
        MissingPackage: mdtraj is not installed.
        RecordError: a file is missing, empty or of another kind, files do not go together, or bonds cannot be told.
        StoreError: the output cannot be written.
    """
    require("mdtraj", "md", "reading trajectories")
    if stride < 1:
        raise ValueError(f"stride must be at least 1, got {stride}")
    report = FramesReport()
    for path in (top, *trajectories):
        if not Path(path).is_file():
            raise RecordError(f"{path}: {'a folder, no file' if Path(path).is_dir() else 'no such file'}")
        if Path(output).exists() and os.path.samefile(path, output):
            raise StoreError(f"{output}: is also an input")
    for path in trajectories:
        if not path.lower().endswith(SUFFIXES):
            raise RecordError(f"{path}: no trajectory by its name; what is read beside --top: {', '.join(SUFFIXES)}")
    reference = _reference(top, trajectories[0])
    for path in trajectories:
        _check_atoms(path, top, reference.n_atoms)
    kept = _kept(top, reference.topology, select, report)
    parts = _parts(top, reference.atom_slice(kept), template, report)
    for path in trajectories:
        _read(path, reference.topology, kept, parts, stride, report)
    _finish(parts, output, level, report)
    return report


def _reference(top: str, trajectory: str) -> Any:
    """One frame with the topology: its own where that has coordinates, else the first of the trajectory."""
    import mdtraj

    try:
        if top.lower().endswith((".pdb", ".pdb.gz", ".gro", ".h5", ".mol2")):
            return mdtraj.load_frame(top, 0)
        return mdtraj.load_frame(trajectory, 0, top=mdtraj.load_topology(top))
    except Exception as error:  # mdtraj raises what it likes
        raise RecordError(f"{top}: no topology that mdtraj reads: {reason_of(error)}") from error


def _check_atoms(path: str, top: str, atoms: int) -> None:
    """Whether a trajectory has frames, of as many atoms: mdtraj would read the first so many of others."""
    import mdtraj

    try:
        with mdtraj.open(path) as file:
            if path.lower().endswith((".pdb", ".pdb.gz")):
                shape = np.shape(file.positions)
            else:
                found = file.read(n_frames=1)
                shape = np.shape(found[0])
    except Exception as error:
        reason = "the file is empty" if not os.path.getsize(path) else reason_of(error)
        raise RecordError(f"{path}: no trajectory that mdtraj reads: {reason}") from error
    if not shape[0]:
        raise RecordError(f"{path}: a trajectory without frames")
    if shape[1] != atoms:
        raise RecordError(
            f"{path}: frames of {shape[1]} atoms, and {top} has {atoms}: give the topology of what was written"
        )


def _kept(top: str, topology: Any, select: str, report: FramesReport) -> np.ndarray:
    """Atoms that are kept."""
    if select:
        try:
            kept = topology.select(select)
        except Exception as error:
            raise RecordError(f"--select {select!r}: not in mdtraj's language: {reason_of(error)}") from error
        if not len(kept):
            raise RecordError(f"--select {select!r}: no atom of {top} is so")
    else:
        solute = [residue for residue in topology.residues if not (residue.is_water or residue.n_atoms == 1)]
        kept = np.array([atom.index for residue in solute for atom in residue.atoms], int)
        if not len(kept):
            raise RecordError(f"{top}: nothing but water and single atoms; --select says what is to be kept")
    mine = {topology.atom(k).residue.index for k in kept.tolist()}
    others = Counter(residue.name for residue in topology.residues if residue.index not in mine)
    if others:
        named = ", ".join(f"{count} {name}" for name, count in others.most_common())
        report.notes.append(f"{top}: left out: {named}, {topology.n_atoms - len(kept)} of {topology.n_atoms} atoms")
    return kept


def _templates(template: str) -> list[Chem.Mol]:
    if not template:
        return []
    if is_file(template):
        records = list(read_records(template, need_3d=False))
    else:
        mol = Chem.MolFromSmiles(template)
        if mol is None:
            raise RecordError(f"--template {template!r}: neither a file nor a SMILES")
        records = [Record(0, template, Chem.AddHs(mol))]
    found = [record.mol for record in records if record.mol is not None]
    if not found:
        raise RecordError(f"--template {template}: no molecule in it: {records[0].problem if records else 'it is empty'}")
    return found


def _parts(top: str, reference: Any, template: str, report: FramesReport) -> list[_Part]:
    """The molecules of the topology, equal ones together."""
    templates, told = _templates(template), Counter[str]()
    found: dict[bytes, _Part] = {}
    used: set[int] = set()
    bonded = components(reference)
    for mol, atoms in bonded:
        record, source = molecule_of(mol, templates, f"{top}: {residues_of(reference.topology, atoms)}")
        used.add(source)
        assert record.mol is not None
        molecule = molecule_from_mol(record.mol, record.name, conformers=False)
        part = found.setdefault(molecule.topology(), _Part(molecule, stereo_of(record.mol), []))
        part.copies.append(atoms)
        told.update(record.notes)
    if templates and used == {-1}:
        raise RecordError(f"--template {template}: no molecule of {top} has its atoms and bonds")
    for part in found.values():
        copies = f", {len(part.copies)} of them" if len(part.copies) > 1 else ""
        report.notes.append(f"{top}: {part.molecule.name}{copies}, {len(part.molecule.z)} atoms: {part.molecule.smiles}")
    report.notes += [f"{note}: {count} molecules" if count > 1 else note for note, count in told.items()]
    return list(found.values())


def _tree(parts: Sequence[_Part]) -> np.ndarray:
    """Bonds along which each molecule is reached from its first atom, `[B, 2]` int32."""
    pairs: list[tuple[int, int]] = []
    for part in parts:
        near: dict[int, list[int]] = {}
        for i, j in part.molecule.bond_index.astype(int).tolist():
            near.setdefault(i, []).append(j)
            near.setdefault(j, []).append(i)
        reached, queue, tree = {0}, [0], []
        for i in queue:
            for j in near.get(i, []):
                if j not in reached:
                    reached.add(j)
                    queue.append(j)
                    tree.append((i, j))
        pairs += [(int(atoms[i]), int(atoms[j])) for atoms in part.copies for i, j in tree]
    return np.array(pairs, np.int32).reshape(-1, 2)


def _chunks(path: str, topology: Any, kept: np.ndarray, stride: int) -> Iterator[Any]:
    """The frames of a trajectory, so many at a time."""
    import mdtraj

    try:
        yield from mdtraj.iterload(path, chunk=CHUNK * stride, stride=stride, top=topology, atom_indices=kept)
    except Exception as error:
        raise RecordError(f"{path}: cannot be read to its end: {reason_of(error)}") from error


def _read(path: str, topology: Any, kept: np.ndarray, parts: list[_Part], stride: int, report: FramesReport) -> None:
    """Take the frames of a trajectory."""
    tree, frames, times, whole = _tree(parts), 0, [], False
    for chunk in _chunks(path, topology, kept, stride):
        if chunk.unitcell_vectors is not None and len(tree):
            chunk.make_molecules_whole(inplace=True, sorted_bonds=tree)
            whole = True
        frames += chunk.n_frames
        times += [chunk.time[0], chunk.time[-1]]
        for part in parts:
            part.take(10 * chunk.xyz)
    report.frames += frames
    said = [f"{path}: {frames} frames{f', one of {stride}' if stride > 1 else ''}, nm to Å"]
    if path.lower().endswith((".xtc", ".trr", ".nc", ".netcdf")):  # what says when a frame was
        said.append(f"{times[0]:g} to {times[-1]:g} ps")
    if whole:
        said.append("molecules made whole across the periodic box")
    report.notes.append(", ".join(said))


def _finish(parts: list[_Part], output: str, level: str, report: FramesReport) -> None:
    """Write the store."""
    for part in parts:
        part.molecule.pos = list(np.concatenate(part.pos))
        part.molecule.levels = [level] * len(part.molecule.pos)
        report.left_out += sum(part.wrong.values())
        report.notes += [f"{part.molecule.name}: left out for {why}: {count}" for why, count in (+part.wrong).items()]
    molecules = [part.molecule for part in parts if part.molecule.pos]
    if not molecules:
        raise RecordError(f"none of {report.frames} frames can be used: {'; '.join(report.notes[-3:])}")
    try:
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        report.molecules, report.conformers = write_store(output, molecules)
    except OSError as error:
        raise StoreError(f"{output}: cannot be written: {error.strerror or error}") from error
