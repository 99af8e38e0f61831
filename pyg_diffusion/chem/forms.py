"""Forms of a molecule: its parent without salts and solvents, its tautomers, its states of protonation.

Libraries say which atoms have which charges, hydrogens and bonds; these are then put upon the molecule that was given, so
that its stereo, names, labels and the order of its atoms stay. No stereo is added: what was open stays open, and what a new
double bond leaves open is. A form that would lose stereo which was given is not made.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice, product
from typing import Any

from rdkit import Chem, rdBase
from rdkit.Chem.MolStandardize import rdMolStandardize

from ..deadline import OutOfTime, check_time
from ..extras import require
from .axial import axes, axial_key, label, labelled, sign
from .heavy import identity_smiles, plain_graph

TAUTOMERS = ("canonical", "all")
MOST = 8  # forms of a molecule in each step
PRECISION = 1.0  # of dimorphite-dl, in standard deviations of a pKa: nearer to the pH, both states are made
_VARIANTS = 128  # of a fragment that dimorphite-dl makes at most
_STEREO = (Chem.ChiralType.CHI_TETRAHEDRAL_CW, Chem.ChiralType.CHI_TETRAHEDRAL_CCW)
_CIS = (Chem.BondStereo.STEREOZ, Chem.BondStereo.STEREOCIS)
_TRANS = (Chem.BondStereo.STEREOE, Chem.BondStereo.STEREOTRANS)


@dataclass
class Found:
    """The forms of one molecule.

    Attributes:
        mols: the best first; the very molecule that was given where it is one of them.
        left: how many more there are.
        lost: how many were not made, since stereo that was given would be lost.
    """

    mols: list[Chem.Mol]
    left: int = 0
    lost: int = 0


@dataclass(frozen=True)
class Forms:
    """Which forms of molecules to make, in this order: the parent, of that tautomers, of each the states at a pH.

    Attributes:
        parent: take off all but the largest organic fragment.
        tautomers: "canonical" is RDKit's canonical one, "all" the `most` that it scores best; "" leaves the one given.
        ph: make the states of protonation at this pH that dimorphite-dl finds likely; None leaves the one given.
        most: forms in each step.

    Raises:
        ValueError: an attribute is out of range.
        MissingPackage: a pH is given, and dimorphite-dl is not installed.

    Example:
        >>> from rdkit import Chem
        >>> from pyg_diffusion.chem.forms import Forms
        >>> steps = Forms(parent=True, tautomers="canonical").steps()
        >>> steps["parent"](Chem.AddHs(Chem.MolFromSmiles("CC(=O)[O-].[Na+]"))).mols[0].GetNumAtoms()
        7
        >>> Chem.MolToSmiles(Chem.RemoveHs(steps["tautomer"](Chem.AddHs(Chem.MolFromSmiles("CC(O)=N"))).mols[0]))
        'CC(N)=O'
    """

    parent: bool = False
    tautomers: str = ""
    ph: float | None = None
    most: int = MOST

    def __post_init__(self) -> None:
        if self.tautomers not in ("", *TAUTOMERS):
            raise ValueError(f"tautomers must be one of {', '.join(TAUTOMERS)}, got {self.tautomers!r}")
        if self.ph is not None and not 0 <= self.ph <= 14:
            raise ValueError(f"ph must lie between 0 and 14, got {self.ph}")
        if self.most < 1:
            raise ValueError(f"most must be at least 1, got {self.most}")
        if self.ph is not None:
            require("dimorphite_dl", "protonate", "a pH")

    def __bool__(self) -> bool:
        return self.parent or bool(self.tautomers) or self.ph is not None

    def steps(self) -> dict[str, Any]:
        """What is done, in order, by what one of several results is called: molecule with explicit hydrogens -> `Found`."""
        steps: dict[str, Any] = {"parent": lambda mol: Found([parent(mol)])} if self.parent else {}
        if self.tautomers:
            steps["tautomer"] = partial(tautomers, most=1 if self.tautomers == "canonical" else self.most)
        if self.ph is not None:
            steps["protomer"] = partial(protomers, ph=self.ph, most=self.most)
        return steps


GIVEN = Forms()  # as they are


def parent(mol: Chem.Mol) -> Chem.Mol:
    """The largest organic fragment by RDKit's `LargestFragmentChooser`, with its coordinates; `mol` where it is alone."""
    if len(Chem.GetMolFrags(mol)) < 2:
        return mol
    numbered = Chem.Mol(mol)
    for atom in numbered.GetAtoms():
        atom.SetIntProp("_index", atom.GetIdx())
    with rdBase.BlockLogs():
        kept = rdMolStandardize.LargestFragmentChooser(preferOrganic=True).choose(numbered)
    places = {atom.GetIntProp("_index") for atom in kept.GetAtoms()}
    alone = Chem.RWMol(mol)
    alone.BeginBatchEdit()
    for k in range(mol.GetNumAtoms()):
        if k not in places:
            alone.RemoveAtom(k)
    alone.CommitBatchEdit()
    made = alone.GetMol()
    made.UpdatePropertyCache(strict=False)
    Chem.GetSymmSSSR(made)
    return made


def taken_off(mol: Chem.Mol, kept: Chem.Mol) -> Counter[str]:
    """The fragments of a molecule that its parent lacks, as SMILES."""
    pieces: Counter[str] = Counter()
    for one, weight in ((mol, 1), (kept, -1)):
        for fragment in Chem.GetMolFrags(one, asMols=True, sanitizeFrags=False):
            pieces[identity_smiles(fragment)] += weight
    return +pieces


def tautomers(mol: Chem.Mol, most: int = MOST) -> Found:
    """Tautomers by RDKit's `TautomerEnumerator`, those first that it scores best; its canonical one is the first of all that
    keep the stereo of `mol`.

    Args:
        mol: sanitized, with explicit hydrogens.
    """
    plain = plain_graph(mol)
    enumerator = rdMolStandardize.TautomerEnumerator()
    enumerator.SetRemoveSp3Stereo(False)
    enumerator.SetRemoveBondStereo(False)
    enumerator.SetReassignStereo(False)
    enumerator.SetCallback(_WhileTime())
    with rdBase.BlockLogs():
        found = list(enumerator.Enumerate(plain))
        check_time()
        found.sort(key=lambda one: (-enumerator.ScoreTautomer(one), Chem.MolToSmiles(one)))
        places = {k: k for k in range(plain.GetNumAtoms())}
        return _kept(mol, (one for one in (_tried(plain, one, places) for one in found) if one), plain, most)


class _WhileTime(rdMolStandardize.TautomerEnumeratorCallback):
    """Ends an enumeration when a deadline passes."""

    def __call__(self, mol: Any, res: Any) -> bool:  # type: ignore[override]
        try:
            check_time()
        except OutOfTime:
            return False
        return True


def _tried(plain: Chem.Mol, source: Chem.Mol, places: Mapping[int, int]) -> Chem.Mol | None:
    try:
        return _edited(plain, source, places)
    except ValueError:  # a hydrogen that stayed, as an isotope, where the tautomer has none
        return None


def protomers(mol: Chem.Mol, ph: float, most: int = MOST) -> Found:
    """States of protonation by dimorphite-dl (Ropp et al. 2019, doi:10.1186/s13321-019-0336-9): of each site the one that
    its pKa says, both where that is within a standard deviation of the pH; the likeliest first.

    Args:
        mol: sanitized, with explicit hydrogens.
    """
    plain = plain_graph(mol)
    with rdBase.BlockLogs():
        found = _kept(mol, _protonated(plain, ph, _VARIANTS), plain, _VARIANTS)
        if len(found.mols) > 1:
            likeliest = identity_smiles(_kept(mol, _protonated(plain, ph, 1), plain, 1).mols[0])
            few = found if len(found.mols) <= most else _kept(mol, _protonated(plain, ph, most), plain, most)
            few.left, few.lost = len(found.mols) - len(few.mols), found.lost
            few.mols.sort(key=lambda one: identity_smiles(one) != likeliest)
            return few
    return found


def _protonated(plain: Chem.Mol, ph: float, most: int) -> Iterator[Chem.Mol]:
    """Copies of a molecule without hydrogens, each fragment in each state."""
    from dimorphite_dl import protonate_smiles

    numbered = Chem.Mol(plain)
    for atom in numbered.GetAtoms():
        atom.SetAtomMapNum(atom.GetIdx() + 1)
    states = []
    for fragment in Chem.GetMolFrags(numbered):
        smiles = Chem.MolFragmentToSmiles(numbered, fragment)
        made = protonate_smiles(smiles, ph_min=ph, ph_max=ph, precision=PRECISION, max_variants=most)
        one = [mol for mol in map(Chem.MolFromSmiles, made) if mol is not None and mol.GetNumAtoms() == len(fragment)]
        if not one:
            raise ValueError(f"dimorphite-dl makes nothing of {Chem.MolFragmentToSmiles(plain, fragment)}")
        states.append(one)
    for chosen in islice(product(*states), most):
        copy = plain
        for piece in chosen:
            copy = _edited(copy, piece, _places(plain, piece))
        yield copy


def _places(plain: Chem.Mol, piece: Chem.Mol) -> dict[int, int]:
    """Where the atoms of a piece are in the whole: by their map numbers, or, where one was lost, by what it is bound to."""
    places = {atom.GetIdx(): atom.GetAtomMapNum() - 1 for atom in piece.GetAtoms() if atom.GetAtomMapNum()}
    waiting = [atom for atom in piece.GetAtoms() if not atom.GetAtomMapNum()]
    for atom in waiting * len(waiting):
        near = {places.get(n.GetIdx()) for n in atom.GetNeighbors()} - {None}
        fits = (
            a.GetIdx()
            for a in plain.GetAtoms()
            if a.GetAtomicNum() == atom.GetAtomicNum() and a.GetIdx() not in places.values()
            and near and near <= {n.GetIdx() for n in a.GetNeighbors()}
        )  # fmt: skip
        if atom.GetIdx() not in places and (place := next(fits, None)) is not None:
            places[atom.GetIdx()] = place
    if len(places) < piece.GetNumAtoms():
        raise ValueError(f"dimorphite-dl made another molecule of it: {Chem.MolToSmiles(piece)}")
    return places


def _edited(plain: Chem.Mol, source: Chem.Mol, places: Mapping[int, int]) -> Chem.Mol:
    """A copy of a molecule with the charges, hydrogens and bonds of another; `places` are those of the other's atoms in it.

    Raises:
        ValueError: they do not go together.
    """
    new, other = Chem.RWMol(plain), Chem.Mol(source)
    Chem.Kekulize(new, clearAromaticFlags=True)
    Chem.Kekulize(other, clearAromaticFlags=True)
    for atom in other.GetAtoms():
        own = new.GetAtomWithIdx(places[atom.GetIdx()])
        own.SetFormalCharge(atom.GetFormalCharge())
        own.SetNumExplicitHs(atom.GetTotalNumHs())
        own.SetNoImplicit(True)
        own.SetNumRadicalElectrons(atom.GetNumRadicalElectrons())
    for bond in other.GetBonds():
        own = new.GetBondBetweenAtoms(places[bond.GetBeginAtomIdx()], places[bond.GetEndAtomIdx()])
        if own.GetBondType() != bond.GetBondType():
            own.SetBondType(bond.GetBondType())
            own.SetStereo(Chem.BondStereo.STEREONONE)
    made = new.GetMol()
    Chem.SanitizeMol(made)
    return made


def _kept(mol: Chem.Mol, edited: Iterator[Chem.Mol], plain: Chem.Mol, most: int) -> Found:
    """The different ones of some edits of a molecule's plain graph that keep its stereo, with explicit hydrogens."""
    found, seen, given = Found([]), set(), _stereo(plain)
    for one in edited:
        check_time()
        Chem.AssignStereochemistry(one, cleanIt=True, force=True)
        full = _with_axes(mol, Chem.AddHs(one))
        if full is None or not given.items() <= _stereo(one).items():
            found.lost += 1
            continue
        if (key := (identity_smiles(full), axial_key(full))) in seen:
            continue
        seen.add(key)
        if len(seen) > most:
            found.left += 1
        else:
            full.RemoveAllConformers()
            found.mols.append(mol if key == (identity_smiles(mol), axial_key(mol)) else full)
    if not found.mols:
        found.mols.append(mol)
    return found


def _stereo(mol: Chem.Mol) -> dict[frozenset[int], object]:
    """The stereo of centres and double bonds by their atoms, in terms that do not depend on charges and hydrogens."""
    found: dict[frozenset[int], object] = {
        frozenset([atom.GetIdx()]): atom.GetChiralTag() for atom in mol.GetAtoms() if atom.GetChiralTag() in _STEREO
    }
    for bond in mol.GetBonds():
        if bond.GetStereo() not in _CIS + _TRANS:
            continue
        cis, ends = bond.GetStereo() in _CIS, (bond.GetBeginAtom(), bond.GetEndAtom())
        for end, other, atom in zip(ends, ends[::-1], bond.GetStereoAtoms(), strict=True):
            cis ^= atom != min(n.GetIdx() for n in end.GetNeighbors() if n.GetIdx() != other.GetIdx())
        found[frozenset(end.GetIdx() for end in ends)] = cis
    return found


def _with_axes(mol: Chem.Mol, new: Chem.Mol) -> Chem.Mol | None:
    """The molecule `new` with the labels of the axes of `mol`; None where it has no such axis."""
    heavy = {atom.GetIdx(): k for k, atom in enumerate(a for a in mol.GetAtoms() if a.GetAtomicNum() > 1)}
    own = {frozenset(axis.between): axis for axis in axes(new)} if any(True for _ in _handed(mol)) else {}
    order = [atom.GetIdx() for atom in new.GetAtoms() if atom.GetAtomicNum() > 1]
    for axis in _handed(mol):
        place = own.get(frozenset(order[heavy[k]] for k in axis.between))
        if place is None:
            return None
        label(new, place, sign(mol, axis))
    return new


def _handed(mol: Chem.Mol) -> Iterator[Any]:
    return (axis for axis in axes(mol) if labelled(mol, axis))
