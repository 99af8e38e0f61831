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


def plain_graph(mol: Chem.Mol, sanitize: bool = True) -> Chem.Mol:
    """A copy with hydrogens only where they are isotopes, bridge, or carry stereo, whatever substance groups a file puts on
    them and whatever atoms are numbered: what tells molecules apart.

    Args:
        sanitize: of what has no Kekulé structure that is an error.
    """
    plain, options = Chem.Mol(mol), Chem.RemoveHsParameters()
    options.showWarnings = False  # type: ignore[assignment]  # of each hydrogen that stays
    set_maps_aside(plain)
    Chem.ClearMolSubstanceGroups(plain)
    plain = Chem.RemoveHs(plain, options, sanitize)
    Chem.GetSymmSSSR(plain)  # the stereo of a nitrogen is kept or not by the rings it is in, which may be forgotten
    return plain


def identity_smiles(mol: Chem.Mol) -> str:
    """Canonical isomeric SMILES of the `plain_graph`, by which molecules are told apart."""
    return Chem.MolToSmiles(plain_graph(mol, sanitize=False))
