"""A molecule without its hydrogens: the heavy atoms, and the SMILES that identifies it."""

from rdkit import Chem

from .records import set_maps_aside


def heavy_atoms(mol: Chem.Mol) -> Chem.Mol:
    """A copy without its hydrogens, whatever they are, conformers included, atom maps not; all atoms where there are only
    hydrogens.

    `Chem.RemoveHs` keeps deuterium, the hydrogen that defines the stereo of an imine, bridging hydrides, and each hydrogen
    that a substance group would be empty without, which even `RemoveAllHs` leaves: some programs write a group of one atom
    for every atom. Nothing is sanitized, so that what has no Kekulé structure is no error.
    """
    copy = Chem.Mol(mol)
    set_maps_aside(copy)
    if all(a.GetAtomicNum() == 1 for a in mol.GetAtoms()):
        return copy
    Chem.ClearMolSubstanceGroups(copy)
    copy = Chem.RemoveAllHs(copy, sanitize=False)
    copy.UpdatePropertyCache(strict=False)
    Chem.GetSymmSSSR(copy)
    return copy


def identity_smiles(mol: Chem.Mol) -> str:
    """Canonical isomeric SMILES by which molecules are told apart: hydrogens only where they are isotopes or carry stereo,
    whatever substance groups a file puts on them and whatever atoms are numbered."""
    plain, options = Chem.Mol(mol), Chem.RemoveHsParameters()
    options.showWarnings = False  # type: ignore[assignment]  # of each hydrogen that stays
    set_maps_aside(plain)
    Chem.ClearMolSubstanceGroups(plain)
    plain = Chem.RemoveHs(plain, options, sanitize=False)
    Chem.GetSymmSSSR(plain)  # the stereo of a nitrogen is written or not by the rings it is in, which may be forgotten
    return Chem.MolToSmiles(plain)
