"""R groups: places of a core where something hangs on that is left open, a substituent or a hydrogen."""

from typing import NamedTuple

import numpy as np
from rdkit import Chem, rdBase

from .sdf_text import read_block
from .walk import DUMMY, atoms_of

_ANYTHING = ("", "AtomNull")  # queries of R#, R1 and *; others ask for something


class Capped(NamedTuple):
    """A molecule with hydrogens in the places of its R groups, and the atoms that they hang on."""

    mol: Chem.Mol
    sites: frozenset[int]


class Stripped(NamedTuple):
    """A pattern without its R groups, and how many of them hung on each atom that has any."""

    pattern: Chem.Mol
    sites: dict[int, int]


def capped(text: str) -> Capped | None:
    """A record of an SDF file whose R groups (`R#`, `R1`, `*`, each at one single bond) are hydrogens, at the length of
    their bonds; not sanitized. None where it has none, or is no record that RDKit reads: whoever reads it then says why.

    Example:
        >>> from rdkit import Chem
        >>> from pyg_diffusion.chem.r_groups import capped
        >>> mol, sites = capped(Chem.MolToMolBlock(Chem.MolFromSmiles("*c1ccncc1")))
        >>> Chem.MolToSmiles(mol), sorted(sites)
        ('[H]C1=CC=NC=C1', [1])
    """
    with rdBase.BlockLogs():
        mol = Chem.MolFromMolBlock(read_block(text).mol, sanitize=False, removeHs=False)
    if mol is None or not mol.HasSubstructMatch(DUMMY):
        return None
    copy, sites = Chem.RWMol(mol), set()
    pos = mol.GetConformer().GetPositions()
    for atom in atoms_of(mol):
        if not _is_open(atom) or atom.GetBonds()[0].GetBondType() != Chem.BondType.SINGLE:
            continue
        site = atom.GetNeighbors()[0]
        sites.add(site.GetIdx())
        copy.ReplaceAtom(atom.GetIdx(), Chem.Atom(1))
        arm = pos[atom.GetIdx()] - pos[site.GetIdx()]
        length = sum(Chem.GetPeriodicTable().GetRcovalent(z) for z in (1, site.GetAtomicNum()))
        pos[atom.GetIdx()] = pos[site.GetIdx()] + length * arm / max(float(np.linalg.norm(arm)), 1e-9)
    if not sites:
        return None
    copy.GetConformer().SetPositions(pos)
    copy.UpdatePropertyCache(strict=False)
    return Capped(copy.GetMol(), frozenset(sites))


def stripped(pattern: Chem.Mol) -> Stripped:
    """A SMARTS pattern without its R groups: `*` or `[*:1]` at the end of a bond.

    Example:
        >>> from rdkit import Chem
        >>> from pyg_diffusion.chem.r_groups import stripped
        >>> pattern, sites = stripped(Chem.MolFromSmarts("[*:1]C(=O)N(*)*"))
        >>> Chem.MolToSmarts(pattern), sites
        ('C(=O)N', {0: 1, 2: 2})
    """
    ends = [atom for atom in atoms_of(pattern) if _is_open(atom)]
    gone = {atom.GetIdx() for atom in ends}
    place = {k: new for new, k in enumerate(k for k in range(pattern.GetNumAtoms()) if k not in gone)}
    sites: dict[int, int] = {}
    copy = Chem.RWMol(pattern)
    copy.BeginBatchEdit()
    for atom in ends:
        site = atom.GetNeighbors()[0].GetIdx()
        if site in place:
            sites[place[site]] = sites.get(place[site], 0) + 1
        copy.RemoveAtom(atom.GetIdx())
    copy.CommitBatchEdit()
    return Stripped(copy.GetMol(), sites)


def _is_open(atom: Chem.Atom) -> bool:
    query = atom.DescribeQuery().strip() if atom.HasQuery() else ""
    return atom.GetAtomicNum() == 0 and atom.GetDegree() == 1 and query in _ANYTHING
