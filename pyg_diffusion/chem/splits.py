"""Which side of a split a molecule falls on, from the molecule alone: the same in every file, in any order, on any machine.

A molecule is hashed by a key that its conformers, stereoisomers, isotopologues and protonation states share, so that none of
them leaks. As u(key) < share decides, what a smaller share holds out is held out by a larger one as well.
"""

import hashlib
from dataclasses import dataclass

from rdkit import Chem, rdBase
from rdkit.Chem.MolStandardize import rdMolStandardize
from rdkit.Chem.Scaffolds import MurckoScaffold

from .heavy import plain_graph

KINDS = ("inchikey", "scaffold")


@dataclass(frozen=True)
class Split:
    """share: of the molecules to hold out, in (0, 1); by: `KINDS`, what stays together.

    "inchikey" keeps the states of one molecule together (`connectivity`), "scaffold" all molecules of one Murcko scaffold
    (`scaffold`; Bemis and Murcko 1996), the harder test. Salts are molecules of their own.
    """

    share: float
    by: str = "inchikey"

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"the share to hold out must lie between 0 and 1, got {self.share}")
        if self.by not in KINDS:
            raise ValueError(f"no split by {self.by!r}; there are {', '.join(KINDS)}")

    def holds_out(self, mol: Chem.Mol) -> bool:
        """Whether a sanitized molecule is held out."""
        return uniform(scaffold(mol) if self.by == "scaffold" else connectivity(mol)) < self.share


def uniform(key: str) -> float:
    """A number in [0, 1) that looks random and follows from the key."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=6).digest(), "big") / 2**48


def connectivity(mol: Chem.Mol) -> str:
    """First block of the InChIKey of the uncharged molecule; where it has no InChI (dummy atoms, more than 1023 atoms), the
    SMILES without stereo."""
    with rdBase.BlockLogs():
        parent = _uncharged(mol)
        return _block(_inchi(parent), parent)


def scaffold(mol: Chem.Mol) -> str:
    """SMILES of the Murcko scaffold, without stereo; of an acyclic molecule its `connectivity`.

    It is taken of the structure that the uncharged molecule's InChI stands for: a scaffold of the molecule as it is drawn
    differs among protonation states, such as O=c1cccc[n-]1 and [O-]c1ccccn1.
    """
    with rdBase.BlockLogs():
        parent = _uncharged(mol)
        inchi = _inchi(parent)
        layers = [layer for layer in inchi.split("/") if not layer.startswith("p")]  # protons added to or taken from it
        drawn = Chem.MolFromInchi("/".join(layers)) if inchi else None
        core = "" if drawn is None else Chem.MolToSmiles(MurckoScaffold.GetScaffoldForMol(drawn), isomericSmiles=False)
        return core or _block(inchi, parent)


def _uncharged(mol: Chem.Mol) -> Chem.Mol:
    """Without isotopes, explicit hydrogens and every charge that protons can remove."""
    copy = Chem.Mol(mol)
    for atom in copy.GetAtoms():
        atom.SetIsotope(0)
    return rdMolStandardize.Uncharger(canonicalOrder=True, force=True).uncharge(plain_graph(copy))


def _inchi(mol: Chem.Mol) -> str:
    """InChI without stereo, "" where there is none."""
    return Chem.MolToInchi(mol, options="-SNon")


def _block(inchi: str, mol: Chem.Mol) -> str:
    return Chem.InchiToInchiKey(inchi)[:14] if inchi else Chem.MolToSmiles(mol, isomericSmiles=False)
