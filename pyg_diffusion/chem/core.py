"""Cores: atoms of a molecule that lie where a template has them, by their largest common part or by a pattern."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdFMCS
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..data.schema import CIS
from .conformers import coincident
from .coordinates import is_3d
from .formats import SDF, parsed, raw_records
from .r_groups import capped, stripped
from .sdf import record_from_placed
from .sdf_text import read_block
from .stereo import MIN_VOLUME, Stereo, cis_cosine, signed_volume, stereo_of
from .walk import atoms_of, bonds_of

LEAST, SHARE = 3, 1 / 3  # matched atoms, and what they are of the heavy atoms of a template; less is no core
SECONDS = 10  # that the search for one common part may take
PLACEMENTS = 200  # of a pattern in one molecule that are tried
SHOWN = 12  # atoms named in a remark
_ALIKE = 10  # isotope labels: element and hybridization in one number


@dataclass(frozen=True)
class Template:
    """A molecule of which the coordinates are given, with explicit hydrogens.

    Attributes:
        sites: its atoms on which R groups hang.
    """

    name: str
    mol: Chem.Mol
    sites: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Match:
    """What of a molecule lies where a template has it.

    Attributes:
        template: which.
        pairs: (atom of the molecule, atom of the template), ascending.
        turned: stereocentres of the molecule that have the other hand in the template, at which a part of the match was let
            go.
    """

    template: Template
    pairs: tuple[tuple[int, int], ...]
    turned: tuple[int, ...] = field(default=())

    def positions(self, atoms: int) -> np.ndarray:
        """Where the molecule's atoms are to lie, `[atoms, 3]`, NaN where that is open."""
        fixed = np.full((atoms, 3), np.nan)
        own, theirs = np.array(self.pairs).T
        fixed[own] = self.template.mol.GetConformer().GetPositions()[theirs]
        return fixed

    def remark(self, mol: Chem.Mol) -> str:
        """Which atoms have no match, "" where the whole template has one."""
        left = [k for k in _heavy(self.template.mol) if k not in {pair[1] for pair in self.pairs}]
        made = [k for k in _heavy(mol) if k not in {pair[0] for pair in self.pairs}]
        words = []
        if left:
            words.append(f"{_named(self.template.mol, left)} of it have no match")
        if self.turned:
            words.append(f"the other hand there at {_named(mol, self.turned)}, so a branch is let go")
        if words and made:
            words.append(f"generated: {_named(mol, made)}")
        return "; ".join([f"core {self.template.name}, {len(self.pairs)} atoms kept", *words]) if words else ""


def read_templates(path: str, say: Callable[[str], object]) -> list[Template]:
    """The templates of a file; those without usable coordinates are told, and left out. Of SDF R groups are read.

    Raises:
        ValueError: none is left.
        RecordError: the file cannot be read.
    """
    found: list[Template] = []
    reasons: list[str] = []
    for index, (kind, raw) in enumerate(raw_records(path, say=say)):
        part = capped(raw) if kind is SDF else None
        if part is None:
            record, sites = parsed(kind, index, raw, need_3d=True), frozenset[int]()
        else:
            record, sites = record_from_placed(index, part.mol, read_block(raw).name, True, []), part.sites
        mol, reason = record.mol, record.problem or record.fault
        if mol is not None and not reason and not is_3d(mol):
            reason = "no 3D coordinates"
        if mol is not None and not reason and (pair := coincident(mol.GetConformer().GetPositions()[_heavy(mol)])):
            reason = f"two atoms in one place ({_named(mol, [_heavy(mol)[k] for k in pair])})"
        if reason or mol is None:
            reasons.append(f"{record.name}: {reason}")
        else:
            found.append(Template(record.name, mol, sites))
    if not found:
        raise ValueError(f"{path}: no core with 3D coordinates ({'; '.join(reasons[:3]) or 'no records'})")
    for reason in reasons:
        say(f"{path}: a core left out: {reason}")
    return found


class Cores:
    """Finds the template of which most lies in a molecule.

    Heavy atoms match by element and hybridization, bonds by order and by being in a ring, rings as a whole; or what a
    pattern matches in both. Of the ways to match, the largest one that gives every stereocentre and double bond of the
    molecule the hand asked for is taken. Where none does, the smallest branch at the centre is let go, which leaves the hand
    to what is generated. A common part of fewer than three atoms, or than a third of the template's, is no match.

    R groups of a template, and `*` at the end of a pattern's bond, match any substituent or hydrogen, and are not kept. Of
    ways that are as large the one is taken that has most of the molecule's substituents where R groups are.

    Args:
        templates: in the order of preference among equals.
        pattern: SMARTS that both have to have; None: the largest common part.

    Attributes:
        lacking: names of templates without the pattern, or with fewer than three heavy atoms where there is none, which are
            left out.

    Raises:
        ValueError: none is left, or the pattern has R groups alone.

    Example:
        >>> from rdkit import Chem
        >>> from rdkit.Chem.rdDistGeom import EmbedMolecule
        >>> from pyg_diffusion.chem.core import Cores, Template
        >>> toluene, aniline = (Chem.AddHs(Chem.MolFromSmiles(s)) for s in ("Cc1ccccc1", "Nc1ccccc1"))
        >>> EmbedMolecule(toluene, randomSeed=1)
        0
        >>> match = Cores([Template("toluene", toluene)])(aniline)
        >>> len(match.pairs), match.remark(aniline)
        (6, 'core toluene, 6 atoms kept; C1 of it have no match; generated: N1')
    """

    def __init__(self, templates: Sequence[Template], pattern: Chem.Mol | None = None):
        self.pattern, self.hooks = pattern, dict[int, int]()
        if pattern is not None:
            self.pattern, self.hooks = stripped(pattern)
            if not self.pattern.GetNumAtoms():
                raise ValueError("the pattern has R groups alone, and nothing to keep")
        self.templates = [t for t in templates if self._usable(t.mol)]
        self.lacking = [t.name for t in templates if t not in self.templates]
        if not self.templates:
            raise ValueError(f"no core {self.needs}")

    @property
    def needs(self) -> str:
        """What a template has to have."""
        return f"has {LEAST} heavy atoms or more" if self.pattern is None else "has the pattern"

    def _usable(self, mol: Chem.Mol) -> bool:
        return len(_heavy(mol)) >= LEAST if self.pattern is None else any(self._placements(mol, not self.hooks))

    def __call__(self, mol: Chem.Mol) -> Match:
        """The match of a molecule with explicit hydrogens.

        Raises:
            ValueError: there is none, and why.
        """
        stereo, best, rank, most, refused = stereo_of(mol), None, (0, 0), 0, ""
        for template in self.templates:
            heavy = _heavy_neighbours(mol), _heavy_neighbours(template.mol)
            rank = rank[0], 0  # of as much of several templates the first is taken
            for pairs, sites in self._ways(template, mol):
                if best is not None and (len(pairs), -_astray(pairs, sites, *heavy)) <= rank:
                    continue
                match = _of_right_hand(mol, stereo, Match(template, pairs))
                if match is None:
                    refused = f"; the match with {template.name} has the wrong hand"
                elif len(match.pairs) < self._least(template.mol):
                    most = max(most, len(match.pairs))
                elif best is None or (len(match.pairs), -_astray(match.pairs, sites, *heavy)) > rank:
                    best, rank = match, (len(match.pairs), -_astray(match.pairs, sites, *heavy))
        if best is None and refused:
            raise ValueError(f"has no core to keep{refused}")
        if best is None and self.pattern is not None:
            raise ValueError("does not have the pattern of the core")
        if best is None:
            common = f"{most} atoms in common with a core, which is" if most else "nothing in common with a core, or"
            raise ValueError(f"has {common} less than a third of it")
        return best

    def _least(self, template: Chem.Mol) -> int:
        """Atoms that a match must have."""
        return 1 if self.pattern is not None else max(LEAST, math.ceil(SHARE * len(_heavy(template))))

    def _ways(self, template: Template, mol: Chem.Mol) -> Iterator[tuple[tuple[tuple[int, int], ...], frozenset[int]]]:
        """Ways to lay the template over the molecule: pairs of atoms, and the template's atoms with R groups."""
        if self.pattern is not None:
            for one in self._placements(template.mol, not self.hooks):
                sites = template.sites | {one[k] for k in self.hooks}
                for other in self._placements(mol, False):
                    yield tuple(sorted(zip(other, one, strict=True))), sites
            return
        (there, own), (here, theirs) = _labelled(template.mol), _labelled(mol)
        found = rdFMCS.FindMCS(
            [there, here],
            timeout=SECONDS,
            atomCompare=rdFMCS.AtomCompare.CompareIsotopes,
            bondCompare=rdFMCS.BondCompare.CompareOrder,
            ringMatchesRingOnly=True,
            completeRingsOnly=True,
        )
        if found.numAtoms < LEAST:
            return
        pattern = Chem.MolFromSmarts(found.smartsString)
        for one in there.GetSubstructMatches(pattern, maxMatches=PLACEMENTS):
            for other in here.GetSubstructMatches(pattern, uniquify=False, maxMatches=PLACEMENTS):
                yield tuple(sorted((theirs[b], own[a]) for a, b in zip(one, other, strict=True))), template.sites

    def _placements(self, mol: Chem.Mol, uniquify: bool) -> Iterator[tuple[int, ...]]:
        """Matches of the pattern, with room for what hangs on it."""
        assert self.pattern is not None
        for match in mol.GetSubstructMatches(self.pattern, uniquify=uniquify, maxMatches=PLACEMENTS):
            around = {k: {n.GetIdx() for n in mol.GetAtomWithIdx(match[k]).GetNeighbors()} for k in self.hooks}
            if all(len(around[k] - {*match}) >= number for k, number in self.hooks.items()):
                yield match


def _heavy_neighbours(mol: Chem.Mol) -> list[set[int]]:
    return [{n.GetIdx() for n in atom.GetNeighbors() if n.GetAtomicNum() > 1} for atom in atoms_of(mol)]


def _astray(
    pairs: Sequence[tuple[int, int]], sites: frozenset[int], heavy: Sequence[set[int]], theirs: Sequence[set[int]]
) -> int:
    """Substituents of a match, in molecule and template, that hang where there is no R group; 0 where there is none at all.

    Args:
        sites: the template's atoms with R groups.
        heavy, theirs: neighbours of the molecule's atoms, and of the template's, hydrogens left out.
    """
    if not sites:
        return 0
    own, there = ({pair[k] for pair in pairs} for k in (0, 1))
    return sum(len(heavy[a] - own) + len(theirs[b] - there) for a, b in pairs if b not in sites)


def _heavy(mol: Chem.Mol) -> list[int]:
    return [a.GetIdx() for a in atoms_of(mol) if a.GetAtomicNum() > 1]


def _named(mol: Chem.Mol, atoms: Sequence[int]) -> str:
    texts = [f"{mol.GetAtomWithIdx(int(k)).GetSymbol()}{int(k) + 1}" for k in atoms]
    return ", ".join(texts[:SHOWN]) + (f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else "")


def _labelled(mol: Chem.Mol) -> tuple[Chem.Mol, list[int]]:
    """The heavy atoms alone, with their kinds for isotopes, and which atoms of the molecule they are."""
    own = _heavy(mol)
    copy = Chem.RWMol(mol)
    copy.BeginBatchEdit()
    for atom in atoms_of(mol):
        if atom.GetAtomicNum() <= 1:
            copy.RemoveAtom(atom.GetIdx())
    copy.CommitBatchEdit()
    for atom, k in zip(copy.GetAtoms(), own, strict=True):
        atom.SetIsotope(_ALIKE * atom.GetAtomicNum() + int(mol.GetAtomWithIdx(k).GetHybridization()))
    part = copy.GetMol()
    Chem.FastFindRings(part)
    return part, own


def _of_right_hand(mol: Chem.Mol, stereo: Stereo, match: Match) -> Match | None:
    """The match, or what is left of it where its places have the hands asked for; None where they cannot."""
    pairs, turned = match.pairs, []
    while wrong := _wrong(mol, stereo, Match(match.template, pairs).positions(mol.GetNumAtoms())):
        gone = _let_go(mol, {pair[0] for pair in pairs}, *wrong)
        pairs = tuple(pair for pair in pairs if pair[0] not in gone)
        turned.append(wrong[0])
        if not gone or not pairs:
            return None
    return Match(match.template, pairs, tuple(turned))


def _wrong(mol: Chem.Mol, stereo: Stereo, fixed: np.ndarray) -> tuple[int, list[int]] | None:
    """A centre that has the wrong hand where these places decide it, with what of its neighbours has a place; of a double
    bond its first atom and its second."""
    known = np.isfinite(fixed).all(1)
    for row in stereo.tetra.astype(int):
        centre, ends = row[0], row[1:]
        missing = ends[~known[ends]]
        pos = fixed
        if len(missing) > 1 or not known[centre]:
            continue
        if len(missing) == 1:  # the fourth lies opposite to the other three
            if mol.GetBondBetweenAtoms(int(centre), int(missing[0])) is None or centre in ends:
                continue
            arms = fixed[ends[known[ends]]] - fixed[centre]
            pos = fixed.copy()
            pos[missing[0]] = fixed[centre] - (arms / np.linalg.norm(arms, axis=1, keepdims=True)).sum(0)
        if signed_volume(row[None], pos)[0] < MIN_VOLUME:
            return int(centre), [int(k) for k in ends if known[k] and k != centre]
    for (a, i, j, b), kind in zip(stereo.ez.astype(int), stereo.ez_type, strict=True):
        one, other = _on_side(mol, known, a, i, j), _on_side(mol, known, b, j, i)
        if not (known[i] and known[j]) or one is None or other is None:
            continue
        row = np.array([[one[0], i, j, other[0]]])
        alike = cis_cosine(row, np.where(known[:, None], fixed, 0.0))[0] * one[1] * other[1]
        if (alike > 0) != (kind == CIS):
            return int(i), [int(j)]
    return None


def _on_side(mol: Chem.Mol, known: np.ndarray, end: int, centre: int, across: int) -> tuple[int, int] | None:
    """A placed neighbour of an end of a double bond, 1 if it is the one the label means and -1 if it is the other."""
    if known[end]:
        return end, 1
    others = [n.GetIdx() for n in mol.GetAtomWithIdx(int(centre)).GetNeighbors() if n.GetIdx() not in (end, across)]
    return next(((k, -1) for k in others if known[k]), None)


def _let_go(mol: Chem.Mol, matched: set[int], centre: int, ends: list[int]) -> set[int]:
    """Atoms to let go so that the hand at a centre is open: the smallest branches until two of its neighbours are left, or
    one side of a double bond beyond its atoms."""
    side = len(ends) == 1
    cut = {centre, ends[0]} if side else {centre}
    bonds = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in bonds_of(mol)]
    inside = np.array([(a, b) for a, b in bonds if {a, b} <= matched - cut], int).reshape(-1, 2)
    n = mol.GetNumAtoms()
    label = connected_components(coo_array((np.ones(len(inside)), inside.T), shape=(n, n)), directed=False)[1]
    around = [
        [k for k in matched - cut if mol.GetBondBetweenAtoms(k, end) is not None] for end in (sorted(cut) if side else cut)
    ]
    branches = {label[k]: {m for m in matched - cut if label[m] == label[k]} for near in around for k in near}
    if side:
        sides = [set().union(*(branches[label[k]] for k in near)) for near in around]
        return set() if sides[0] & sides[1] else min(sides, key=len)
    gone: set[int] = set()
    left = [k for k in ends if k in matched]
    for branch in sorted(branches.values(), key=lambda branch: (len(branch), len(branch.intersection(ends)))):
        if len(left) <= 2:
            break
        if not branch.issuperset(left):
            gone |= branch
            left = [k for k in left if k not in branch]
    return gone if len(left) <= 2 else set()
