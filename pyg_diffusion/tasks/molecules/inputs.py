"""What is to be sampled: the molecules of SMILES and files, each once, with what is known and what is open of each."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from warnings import warn
from weakref import WeakValueDictionary

import numpy as np
from rdkit import Chem

from ...chem import Record, RecordError, molecule_from_mol, read_records, stereo_of
from ...chem.axial import axial_key
from ...chem.finish import OWN
from ...chem.formats import is_file
from ...chem.forms import Forms, taken_off
from ...chem.heavy import identity_smiles
from ...chem.isomers import leaves_stereo_open, most_stereoisomers, stereo_groups, stereoisomers
from ...chem.records import guarded
from ...chem.sdf import is_3d
from ...chem.smiles import record_from_line, split_smiles
from ...chem.stereo import MIN_VOLUME, signed_volume
from ...chem.table import FOUND, Columns
from ...chem.text import repaired
from ...data import Molecule
from ...deadline import UNLIMITED, Allowance, deadline
from .kept import Pose

NAMED = 5  # molecules of unspecified stereo that a remark names
INPUT = "input_smiles"  # the data field of what was made in another form than it was given


@dataclass
class Entry:
    """One molecule to sample: a record, its arrays, and how many records of the input were this molecule.

    Attributes:
        fixed: positions of the atoms to keep, `[N, 3]`, NaN at the others.
        pose: to stay near.
        properties: that are written with each conformer.
        spent: seconds that it has taken.
    """

    record: Record
    molecule: Molecule
    copies: int = 1
    fixed: np.ndarray | None = None
    pose: Pose | None = None
    properties: dict[str, str] = field(default_factory=dict)
    spent: float = 0.0


def input_records(inputs: Iterable[str], say: Callable[[str], object] = warn, columns: Columns = FOUND) -> Iterator[Record]:
    """Records of SMILES or InChI strings, of files, and of stdin for "-"; `say` is told remarks about whole files; `columns`
    are those of tables.

    Raises:
        RecordError: a file is missing, before anything is read, or of no kind that is read.
    """
    inputs = list(inputs)
    for text in inputs:
        if is_file(text) and not Path(text).exists():
            raise RecordError(f"{text}: no such file")  # before any work
    for k, text in enumerate(inputs):
        if text == "-" or is_file(text):
            yield from read_records(text, need_3d=False, say=say, columns=columns)
        else:
            record = record_from_line(k, split_smiles(repaired(text)))
            if record.mol is None and re.search(r"\.[a-z]\w*$", text):
                record.problem += "; nor is there such a file"
            yield record


Fail = Callable[[Record, str], object]  # told a record that yields nothing, and why


def _guarded(record: Record, fail: Fail) -> AbstractContextManager[None]:
    return guarded(record.name, lambda _, reason: fail(record, reason))


def fitting(records: Iterable[Record], most: int, fail: Fail) -> Iterator[Record]:
    """Records without the molecules of more than `most` atoms other than hydrogen, which are refused before any work."""
    for record in records:
        size = 0 if record.mol is None else record.mol.GetNumHeavyAtoms()
        if size > most:
            fail(record, f"{size} atoms other than hydrogen, and the memory has room for {most}")
        else:
            yield record


def unique_molecules(
    records: Iterable[Record], fail: Fail, say: Callable[[str], object], merged: bool = True
) -> Iterator[Entry]:
    """Usable molecules, each once per name: further conformers of one molecule, whatever their atom order, raise `copies` of
    its entry, unless they are not to be `merged`."""
    known, repeated = _Known(), 0
    for record in records:
        if record.mol is None:
            fail(record, record.problem)
            continue
        entry = None
        with _guarded(record, fail):
            entry = Entry(record, molecule_from_mol(record.mol, record.name, conformers=False))
            key = _identity(entry)
        if entry is None:
            continue
        for note in record.notes:
            say(f"{record.name}: {note}")
        if known.again(entry, key) and merged:
            repeated += 1
            continue
        yield entry
    if repeated:
        say(f"{repeated} records repeat a molecule already named; each molecule is sampled once")


def _placed(record: Record) -> bool:
    """Whether coordinates decide its stereo."""
    assert record.mol is not None
    return is_3d(record.mol) and not record.fault and not stereo_groups(record.mol)


def _settled(mol: Chem.Mol, isomer: Chem.Mol) -> bool:
    """Whether coordinates say what is left open in 3D: the side of a nitrogen with a hydrogen, which turns over.

    What is open beside it is so on purpose, by a wavy or crossed bond.
    """
    was, now = stereo_of(mol), stereo_of(isomer)
    new = now.tetra[~np.isin(now.tetra[:, 0], was.tetra[:, 0])]
    if len(now.ez) > len(was.ez) or any(mol.GetAtomWithIdx(int(k)).GetAtomicNum() != 7 for k in new[:, 0]):
        return False
    return bool((np.abs(signed_volume(new, mol.GetConformer().GetPositions())) > MIN_VOLUME).all())


def as_drawn(entries: Iterable[Entry], fail: Fail, say: Callable[[str], object]) -> Iterator[Entry]:
    """The entries, those named that stand for more than the one stereoisomer that is made of them."""
    left_open: list[str] = []
    for entry in entries:
        record, groups, several = entry.record, "", None
        assert record.mol is not None
        with _guarded(record, fail):
            groups = stereo_groups(record.mol)
            several = not groups and not _placed(record) and leaves_stereo_open(record.mol)
        if groups:
            say(f"{record.name}: {groups}: made as drawn; --stereo enumerate makes both hands")
        if several:
            left_open.append(record.name)
        if several is not None:
            yield entry
    if left_open:
        names = ", ".join(left_open[:NAMED]) + ", ..." * (len(left_open) > NAMED)
        say(f"{len(left_open)} molecules leave stereo open and come in any hand: {names} (--stereo enumerate: each apart)")


def in_forms(
    entries: Iterable[Entry], forms: Forms, fail: Fail, say: Callable[[str], object], allowance: Allowance = UNLIMITED
) -> Iterator[Entry]:
    """The entries in the forms that are asked for, in the time of the allowance; those of one that a step gives several of
    are "NAME tautomer 1", ...

    One that is changed loses its coordinates, unless only fragments were taken off, and has the data field `input_smiles`.
    """
    counts: Counter[str] = Counter()
    pieces: Counter[str] = Counter()
    known = _Known()
    for entry in entries:
        one: list[Entry] = []
        start = time.monotonic()
        with _guarded(entry.record, fail), deadline(allowance.seconds, allowance.reason):
            one = _forms_of(entry, forms, say, counts, pieces)
        spent = time.monotonic() - start
        for form in one:
            form.spent = spent
            if known.again(form, _identity(form)):
                counts["again"] += 1
                continue
            yield form
    if forms.parent:
        shown = ", ".join(f"{smiles} {number}" for smiles, number in pieces.most_common(5))
        say(f"--parent: salts and solvents taken off {counts['parent']} molecules{': ' * bool(shown)}{shown}")
    for step in ("tautomer", "protomer"):
        if step in forms.steps():
            say(f"{counts[step]} molecules in another {step} than was given, {counts[step + 's']} {step}s in all")
    if counts["lost"]:
        say(f"{counts['lost']} tautomers or protomers that would have lost stereo which was given were not made")
    if counts["again"]:
        say(f"{counts['again']} forms are of a molecule already named; each molecule is sampled once")


class _Known:
    """The molecules that were met. Holds no entry that nobody else does: those of a long input do not fit into memory."""

    def __init__(self) -> None:
        self._met: set[bytes] = set()
        self._held: WeakValueDictionary[bytes, Entry] = WeakValueDictionary()

    def again(self, entry: Entry, identity: object) -> bool:
        """Whether a molecule was met before; the entry of the first, if it is there still, then counts its copies."""
        key = blake2b(repr(identity).encode(), digest_size=16).digest()
        if key not in self._met:
            self._met.add(key)
            self._held[key] = entry
            return False
        if (first := self._held.get(key)) is not None:
            first.copies += entry.copies
        return True


def _identity(entry: Entry) -> object:
    mol = entry.record.mol
    assert mol is not None
    return entry.record.own_name, entry.molecule.smiles, axial_key(mol), stereo_groups(mol)


def _forms_of(
    entry: Entry, forms: Forms, say: Callable[[str], object], counts: Counter[str], pieces: Counter[str]
) -> list[Entry]:
    given = entry.record
    assert given.mol is not None
    made = [(given.name, given.mol)]
    for step, work in forms.steps().items():
        before, made, changed = made, [], False
        for name, mol in before:
            found = work(mol)
            counts["lost"] += found.lost
            if found.left:
                said = f"{len(found.mols) + found.left} {step}s; {len(found.mols)} of them are made (--max-forms)"
                say(f"{name}: {said}")
            many = len(found.mols) > 1
            made += [(f"{name} {step} {k}" if many else name, one) for k, one in enumerate(found.mols, 1)]
            changed |= any(one is not mol for one in found.mols)
            if step == "parent" and found.mols[0] is not mol:
                pieces += taken_off(mol, found.mols[0])
        counts[step] += changed
        counts[f"{step}s"] += len(made)
    entries = []
    for name, mol in made:
        if mol is given.mol:
            entries.append(entry)
            continue
        copy = Chem.Mol(mol)
        copy.SetProp("_Name", name)
        copy.SetProp(INPUT + OWN * copy.HasProp(INPUT), identity_smiles(given.mol))
        fault = given.fault if copy.GetNumConformers() else ""
        record = replace(given, name=name, mol=copy, fault=fault)
        entries.append(replace(entry, record=record, molecule=molecule_from_mol(copy, name, conformers=False)))
    return entries


def enumerated(entries: Iterable[Entry], limit: int, fail: Fail, say: Callable[[str], object]) -> Iterator[Entry]:
    """The entries, those with unspecified stereo as their stereoisomers "NAME isomer 1", ..., `limit` of each at most.

    One with 3D coordinates is left as it is unless they leave a centre flat.
    """
    molecules = made = 0
    for entry in entries:
        record = entry.record
        assert record.mol is not None
        isomers: list[Chem.Mol] = []
        with _guarded(record, fail):
            isomers = stereoisomers(record.mol, limit + 1)
            if len(isomers) == 1 or (_placed(record) and _settled(record.mol, isomers[0])):
                isomers = [record.mol]
        if len(isomers) == 1:
            yield entry
        if len(isomers) < 2:
            continue
        if len(isomers) > limit:
            most = most_stereoisomers(record.mol)
            say(f"{record.name}: up to {most} stereoisomers; {limit} of them are made (--max-isomers)")
        molecules += 1
        for k, mol in enumerate(isomers[:limit], 1):
            made += 1
            name = f"{record.name} isomer {k}"
            mol.SetProp("_Name", name)
            molecule = molecule_from_mol(mol, name, conformers=False)
            yield replace(entry, record=replace(record, name=name, mol=mol), molecule=molecule)
    if molecules:
        say(f"{molecules} molecules with unspecified stereo were made as {made} stereoisomers")
