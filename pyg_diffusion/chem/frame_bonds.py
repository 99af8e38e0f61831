"""The molecules of a topology with all bonds, orders and charges: by a template, by standard residues, or by coordinates."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem

from .geometry_formats import with_bonds
from .rdkit_log import rdkit_log
from .records import Record, RecordError
from .sdf import record_from_placed

SHOWN = 5  # residues that a name has
_SINGLE, _DOUBLE = Chem.BondType.SINGLE, Chem.BondType.DOUBLE


def residues_of(topology: Any, atoms: np.ndarray) -> str:
    """The residues of some atoms, as a name."""
    residues = list(dict.fromkeys(topology.atom(k).residue for k in atoms.tolist()))
    more = f"-... ({len(residues)} residues)" if len(residues) > SHOWN else ""
    return "-".join(residue.name for residue in residues[:SHOWN]) + more


def components(reference: Any) -> list[tuple[Chem.Mol, np.ndarray]]:
    """The molecules of one frame, with RDKit's bonds, unsanitized, and the atoms of each.

    Across a periodic box they are put together by the bonds that mdtraj knows, of standard residues and CONECT lines.

    Raises:
        RecordError: RDKit does not read its atoms.
    """
    bonds = [(a.index, b.index) for a, b in reference.topology.bonds]
    if reference.unitcell_vectors is not None and bonds:
        reference = reference.make_molecules_whole()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "frame.pdb")
        reference.save_pdb(str(path))
        text = path.read_text()
    with rdkit_log() as said:
        mol = Chem.MolFromPDBBlock(text, sanitize=False, removeHs=False, proximityBonding=True)
    if mol is None or mol.GetNumAtoms() != reference.n_atoms:
        count = 0 if mol is None else mol.GetNumAtoms()
        raise RecordError(f"RDKit reads {count} of {reference.n_atoms} atoms of the topology: {'; '.join(said[:2])}")
    atoms: list[tuple[int, ...]] = []
    mols = Chem.GetMolFrags(mol, asMols=True, sanitizeFrags=False, fragsMolAtomMapping=atoms)
    return [(part, np.array(own)) for part, own in zip(mols, atoms, strict=True)]


def molecule_of(mol: Chem.Mol, templates: Sequence[Chem.Mol], where: str) -> tuple[Record, int]:
    """A component as the molecule that it is, in its order of atoms, and which template says so (-1: none).

    Args:
        mol: with bonds, of whatever orders, and places.
        where: for messages.

    Raises:
        RecordError: its bonds cannot be told.
    """
    name = where.rpartition(": ")[2]
    advice = "no --template has its atoms and bonds" if templates else "--template says its bonds, as a SMILES or in a file"
    for k, template in enumerate(templates):
        if (found := _by_template(mol, template)) is not None:
            return _whole(record_from_placed(0, found, name, True, []), mol, where, advice), k
    if (found := _by_residues(mol)) is not None:
        return _whole(record_from_placed(0, found, name, True, [], kekulize=True), mol, where, advice), -1
    bare = Chem.RWMol()
    for atom in mol.GetAtoms():
        bare.AddAtom(Chem.Atom(atom.GetAtomicNum()))
    bare.AddConformer(mol.GetConformer())
    record = with_bonds(0, bare.GetMol(), name, Chem.GetFormalCharge(mol), True, "PDB")
    return _whole(record, mol, where, advice), -1


def _whole(record: Record, mol: Chem.Mol, where: str, advice: str) -> Record:
    """The record, which is refused where it is not all of the component."""
    if record.mol is None or record.fault:
        raise RecordError(f"{where}: {record.problem or record.fault}; {advice}")
    if (more := record.mol.GetNumAtoms() - mol.GetNumAtoms()) != 0:
        raise RecordError(f"{where}: it lacks {more} hydrogens, and frames must have all; {advice}")
    return record


def _bare(mol: Chem.Mol) -> Chem.Mol:
    """Elements and neighbours alone."""
    made = Chem.RWMol()
    for atom in mol.GetAtoms():
        made.AddAtom(Chem.Atom(atom.GetAtomicNum()))
    for bond in mol.GetBonds():
        made.AddBond(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), _SINGLE)
    return made.GetMol()


def _by_template(mol: Chem.Mol, template: Chem.Mol) -> Chem.Mol | None:
    """The template with the atoms' order and places, None where it is another molecule."""
    if template.GetNumAtoms() != mol.GetNumAtoms() or template.GetNumBonds() != mol.GetNumBonds():
        return None
    match = _bare(template).GetSubstructMatch(_bare(mol))
    if not match:
        return None
    made = Chem.RenumberAtoms(template, list(match))
    made.RemoveAllConformers()
    made.AddConformer(mol.GetConformer(), assignId=True)
    return made


def _by_residues(mol: Chem.Mol) -> Chem.Mol | None:
    """The molecule with the charges that its bonds ask for, None where some valence stays open."""
    made = Chem.RWMol(mol)
    _settle_amidines(made)
    for atom in made.GetAtoms():
        number, bonds = atom.GetAtomicNum(), _bonds(atom)
        atom.SetNoImplicit(False)
        atom.SetFormalCharge(1 if (number, bonds) == (7, 4) else -1 if number in (8, 16) and bonds == 1 else 0)
    found = made.GetMol()
    try:
        with rdkit_log():
            Chem.SanitizeMol(found)
    except ValueError:
        return None
    if any(atom.GetTotalNumHs() or atom.GetNumRadicalElectrons() for atom in found.GetAtoms()):
        return None
    return found


def _bonds(atom: Chem.Atom) -> float:
    return sum(bond.GetBondTypeAsDouble() for bond in atom.GetBonds())


def _settle_amidines(mol: Chem.RWMol) -> None:
    """Move double bonds of a carbon from the nitrogen with a hydrogen to the one without: histidine's other form."""
    for atom in mol.GetAtoms():
        if atom.GetAtomicNum() != 6:
            continue
        sides = [(bond, bond.GetOtherAtom(atom)) for bond in atom.GetBonds()]
        full = [b for b, n in sides if n.GetAtomicNum() == 7 and b.GetBondType() == _DOUBLE and _bonds(n) == 4]
        open_ = [b for b, n in sides if n.GetAtomicNum() == 7 and b.GetBondType() == _SINGLE and _bonds(n) == 2]
        if full and open_:
            full[0].SetBondType(_SINGLE)
            open_[0].SetBondType(_DOUBLE)
