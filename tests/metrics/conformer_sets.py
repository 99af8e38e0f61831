"""Molecules and records that tests of conformer metrics share."""

import numpy as np
from rdkit import Chem

from pyg_diffusion.chem import with_positions
from pyg_diffusion.metrics import MoleculeResult, etkdg, group_records, records_of
from pyg_diffusion.metrics.result import OK

INF = np.inf


def embed(smiles, n=2, seed=11):
    mol, _ = etkdg(Chem.AddHs(Chem.MolFromSmiles(smiles)), n, seed)
    assert mol.GetNumConformers() == n
    return mol


def positions(mol):
    return np.array([c.GetPositions() for c in mol.GetConformers()])


def from_3d(mol, pos=None):
    """One-conformer molecule with stereo perceived from its coordinates, as the reader gives it."""
    out = with_positions(mol, positions(mol)[:1] if pos is None else np.array([pos]))
    Chem.AssignStereochemistryFrom3D(out)
    return out


def ensemble(mol, name):
    (one,), skipped = group_records(list(records_of(mol, name)))
    assert not skipped
    return one


def rotation(rng):
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


def shuffled(mol, rng):
    return Chem.RenumberAtoms(mol, [int(i) for i in rng.permutation(mol.GetNumAtoms())])


def result(rmsd, name="m", n=None):
    rmsd = np.array(rmsd, float)
    status = tuple(OK if np.isfinite(c).all() else "missing" for c in rmsd.T)
    return MoleculeResult(name, name, status, rmsd)
