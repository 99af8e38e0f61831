"""Molecules in the form of PyG's data sets, such as `QM9`, as this package's."""

from rdkit import Chem, rdBase
from torch_geometric.data import Data

from ..data.molecule import Molecule
from .conformers import add_conformers
from .coordinates import fault_of
from .features import molecule_from_mol
from .records import why_unsound
from .stereo import assign_stereo_from_3d

NEEDED = {"z": "[N]", "pos": "[N, 3]", "edge_index": "[2, E]", "edge_attr": "[E, 4]"}
BONDS = (Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE, Chem.BondType.AROMATIC)  # of QM9's edge_attr


def molecule_from_pyg(data: Data) -> Molecule:
    """One conformer with all its hydrogens, in the form of `torch_geometric.datasets.QM9`; its atom order is kept.

    Elements and bonds are read from the graph, charges from `smiles` where that is given (none are, otherwise), stereo from
    the coordinates, all other features by RDKit from these.

    Args:
        data: `z [N]`, `pos [N, 3]` in Å, `edge_index [2, E]` of bonds in both directions, and `edge_attr [E, 4]`, which of
            single, double, triple and aromatic each is; `smiles`, `name` and `level` (of theory) where there are any.

    Raises:
        ValueError: something is missing, or it is no molecule, or no geometry of one; one sentence.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from pyg_diffusion.chem.pyg_form import molecule_from_pyg
        >>> edges, single = torch.tensor([[0, 1, 0, 2], [1, 0, 2, 0]]), torch.eye(4)[[0, 0, 0, 0]]
        >>> pos = torch.tensor([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
        >>> molecule_from_pyg(Data(z=torch.tensor([8, 1, 1]), pos=pos, edge_index=edges, edge_attr=single)).smiles
        'O'
    """
    mol = _graph_of(data)
    smiles = data.get("smiles")
    if isinstance(smiles, str) and ("+" in smiles or "-" in smiles):
        for atom, charge in zip(mol.GetAtoms(), _charges(mol, smiles), strict=True):
            atom.SetFormalCharge(charge)
    with rdBase.BlockLogs():
        try:
            Chem.SanitizeMol(mol)
        except ValueError as error:
            raise ValueError(f"RDKit cannot sanitize it: {why_unsound(_graph_of(data)) or error}") from error
    if lacking := sum(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms()):
        raise ValueError(f"hydrogens, or charges, are missing: {lacking} valences are free")
    add_conformers(mol, data.pos.numpy()[None])
    if fault := fault_of(mol):
        raise ValueError(fault.text)
    with rdBase.BlockLogs():
        assign_stereo_from_3d(mol)
    molecule = molecule_from_mol(mol, str(data.get("name") or ""))
    molecule.levels = [str(data.get("level") or "")]
    return molecule


def _graph_of(data: Data) -> Chem.RWMol:
    """Atoms and bonds, nothing worked out of them."""
    if lacking := [f"{name} {shape}" for name, shape in NEEDED.items() if data.get(name) is None]:
        raise ValueError(f"there is no {', '.join(lacking)}; a conformer has {', '.join(NEEDED)}, as in PyG's QM9")
    count, kinds = len(data.z), data.edge_attr
    if kinds.shape != (data.edge_index.size(1), len(BONDS)) or not bool(((kinds != 0).sum(1) == 1).all()):
        raise ValueError(
            f"edge_attr must be [E, 4], which of single, double, triple and aromatic a bond is, got {list(kinds.shape)}"
        )
    if data.pos.shape != (count, 3):
        raise ValueError(f"pos must be [{count}, 3], got {list(data.pos.shape)}")
    mol = Chem.RWMol()
    for z in data.z.tolist():
        atom = Chem.Atom(z)
        atom.SetNoImplicit(True)
        mol.AddAtom(atom)
    pairs = [(a, b, int(k)) for (a, b), k in zip(data.edge_index.T.tolist(), kinds.argmax(1), strict=True)]
    if {(b, a, k) for a, b, k in pairs} != set(pairs):
        raise ValueError("edge_index must have every bond in both directions")
    for a, b, k in pairs:
        if a < b:
            mol.AddBond(a, b, BONDS[k])
            if BONDS[k] == Chem.BondType.AROMATIC:
                mol.GetAtomWithIdx(a).SetIsAromatic(True)
                mol.GetAtomWithIdx(b).SetIsAromatic(True)
    return mol


def _charges(mol: Chem.Mol, smiles: str) -> list[int]:
    """Formal charges of the atoms from a SMILES of the same molecule, whatever its atom order."""
    with rdBase.BlockLogs():
        as_written = Chem.MolFromSmiles(smiles, sanitize=False)
        perceived = Chem.MolFromSmiles(smiles)
    readings = [as_written] if as_written is not None else []
    if perceived is not None:
        perceived = Chem.AddHs(perceived)
        kekulized = Chem.Mol(perceived)
        Chem.Kekulize(kekulized, clearAromaticFlags=True)
        readings += [perceived, kekulized]
    for reading in readings:
        if reading.GetNumAtoms() == mol.GetNumAtoms():
            found = _bare(reading).GetSubstructMatch(_bare(mol))
            if found:
                return [reading.GetAtomWithIdx(k).GetFormalCharge() for k in found]
    raise ValueError(f"the SMILES {smiles} is not of these atoms and bonds")


def _bare(mol: Chem.Mol) -> Chem.Mol:
    """Elements and bonds alone, to be compared."""
    bare = Chem.RWMol()
    for atom in mol.GetAtoms():
        other = Chem.Atom(atom.GetAtomicNum())
        other.SetNoImplicit(True)
        bare.AddAtom(other)
    for bond in mol.GetBonds():
        bare.AddBond(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), bond.GetBondType())
    return bare


__all__ = ["molecule_from_pyg"]
