"""Ensembles of stores that are held out of training: for benchmarks that train."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rdkit import Chem

from pyg_diffusion.chem import molecule_from_mol, read_sdf
from pyg_diffusion.chem.conformers import add_conformers
from pyg_diffusion.chem.stereo import assign_stereo_from_3d
from pyg_diffusion.data import Molecule, MoleculeStore, write_store
from pyg_diffusion.data.schema import ATOM_FEATURES, BOND_TYPES
from pyg_diffusion.metrics import group_records, records_of
from pyg_diffusion.metrics.references import Ensemble

BUNDLED = Path(__file__).parent.parent / "datasets" / "qm9_ensembles_20.sdf.gz"
KINDS = {"double": Chem.BondType.DOUBLE, "triple": Chem.BondType.TRIPLE, "aromatic": Chem.BondType.AROMATIC}


def mol_of(molecule: Molecule) -> Chem.Mol:
    """A molecule of a store for RDKit, with its conformers, and stereo as they have it."""
    mol = Chem.RWMol()
    charge = list(ATOM_FEATURES).index("charge")
    for z, x in zip(molecule.z.tolist(), molecule.x.tolist(), strict=True):
        atom = Chem.Atom(z)
        atom.SetNoImplicit(True)
        atom.SetFormalCharge(x[charge] - 2)
        mol.AddAtom(atom)
    for (a, b), kind in zip(molecule.bond_index.tolist(), molecule.bond_type.tolist(), strict=True):
        bond = KINDS.get(BOND_TYPES[kind], Chem.BondType.SINGLE)
        mol.AddBond(a, b, bond)
        if bond == Chem.BondType.AROMATIC:
            mol.GetAtomWithIdx(a).SetIsAromatic(True)
            mol.GetAtomWithIdx(b).SetIsAromatic(True)
    Chem.SanitizeMol(mol)
    add_conformers(mol, np.array(molecule.pos, dtype=float))
    assign_stereo_from_3d(mol)
    return mol.GetMol()


def bundled_store(folder: Path) -> Path:
    """The ensembles that come with the package, for a quick look, as a store."""
    ensembles, _ = group_records(read_sdf(BUNDLED))
    write_store(folder / "bundled.h5", [molecule_from_mol(e.mol, e.name) for e in ensembles])
    return folder / "bundled.h5"


def hold_out(
    stores: Sequence[str | Path], count: int, seed: int, folder: Path, least: int = 3
) -> tuple[Path, list[Ensemble]]:
    """A store of all other molecules, written into the folder, and `count` ensembles of at least so many conformers.

    Molecules are told apart by SMILES, so that none is on both sides.
    """
    molecules = [store[k] for store in map(MoleculeStore, stores) for k in range(len(store))]
    eligible = sorted({m.smiles for m in molecules if len(m.pos) >= least})
    chosen = set(np.random.default_rng(seed).permutation(eligible)[:count].tolist())
    first = {m.smiles: m for m in reversed(molecules) if m.smiles in chosen and len(m.pos) >= least}
    records = [r for smiles in sorted(first) for r in records_of(mol_of(first[smiles]), smiles)]
    rest = folder / f"rest_{count}_{seed}.h5"
    if not rest.exists():
        write_store(rest, [m for m in molecules if m.smiles not in chosen])
    return rest, group_records(records)[0]
