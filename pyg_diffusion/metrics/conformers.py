"""Generated conformers against reference ensembles: matching, RMSD, coverage.

For a molecule with references i = 1..K and generated conformers j = 1..n, r_ij the symmetry-aware heavy-atom RMSD in Å,

    COV-R(δ) = 1/K Σ_i [min_j r_ij < δ]      AMR-R = 1/K Σ_i min_j r_ij
    COV-P(δ) = 1/n Σ_j [min_i r_ij < δ]      AMR-P = 1/n Σ_j min_i r_ij

A generated conformer that is missing, unreadable, of the wrong graph or of the wrong stereo has r_ij = ∞ for all i.
"""

import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdMolAlign

from ..chem.axial import axial_key
from ..chem.conformers import with_positions
from ..chem.heavy import heavy_atoms, identity_smiles
from ..chem.rdkit_log import rdkit_counts
from ..chem.records import Record, guarded
from ..chem.relax import require
from .strain import METHODS
from .validity import Geometry, StereoCheck, atom_map, geometry, posebusters_failures, signature, symmetrized

OK, WRONG_STEREO, WRONG_GRAPH, UNREADABLE, MISSING = "ok", "wrong stereo", "wrong graph", "unreadable", "missing"
STATUSES = (OK, WRONG_STEREO, WRONG_GRAPH, UNREADABLE, MISSING)
MAX_MATCHES = 10_000


@dataclass(frozen=True)
class Skipped:
    """A record that could not be used: position in its file, name, reason."""

    index: int
    name: str
    reason: str


@dataclass(frozen=True)
class Ensemble:
    """One reference molecule.

    Attributes:
        name: of its first record.
        mol: explicit hydrogens, stereo tags of the first record (from 3D), K >= 1 conformers.
        smiles: canonical isomeric SMILES without hydrogens.
        flat: canonical SMILES of the heavy atoms without stereo.
    """

    name: str
    mol: Chem.Mol
    smiles: str
    flat: str

    @property
    def size(self) -> int:
        """K, the number of reference conformers."""
        return self.mol.GetNumConformers()


def isomeric_smiles(mol: Chem.Mol) -> str:
    """Canonical SMILES with the stereo the molecule is tagged with, axial stereo after a blank."""
    return f"{identity_smiles(mol)} {axial_key(mol)}".strip()


def flat_smiles(mol: Chem.Mol) -> str:
    """Canonical SMILES without stereo. All hydrogens go, so that an imine's does not depend on its E/Z label."""
    return Chem.MolToSmiles(heavy_atoms(mol), isomericSmiles=False)


def _usable_position(mol: Chem.Mol) -> np.ndarray | None:
    pos = mol.GetConformer().GetPositions() if mol.GetNumConformers() else None
    return pos if pos is not None and np.isfinite(pos).all() else None


def group_records(records: Iterable[Record]) -> tuple[list[Ensemble], list[Skipped]]:
    """Records -> reference ensembles (in order of first appearance) and the records that could not be used.

    Records belong together if name and isomeric SMILES agree; nameless ones by SMILES alone. Records in another atom order
    are renumbered to the first record's by substructure match, such that the stereo tags of the first hold.
    """
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    skipped: list[Skipped] = []

    def skip(*lost: Record) -> Callable[[str, str], None]:
        return lambda _, reason: skipped.extend(Skipped(r.index, r.name, reason) for r in lost)

    for record in records:
        if record.mol is None:
            skipped.append(Skipped(record.index, record.name, record.problem or "no molecule"))
        elif _usable_position(record.mol) is None:
            skipped.append(Skipped(record.index, record.name, "no usable coordinates"))
        elif record.fault:
            skipped.append(Skipped(record.index, record.name, record.fault))
        else:
            with guarded(record.name, skip(record)):
                groups[record.own_name, isomeric_smiles(record.mol)].append(record)
    ensembles = []
    for (_, smiles), members in groups.items():
        with guarded(members[0].name, skip(*members)):
            first, positions = members[0].mol, []
            assert first is not None
            check, flat = StereoCheck(first), flat_smiles(first)
            for record in members:
                order = atom_map(first, record.mol) if record.mol is not None else None
                if record.mol is None or order is None:
                    skip(record)("", "atoms cannot be matched to the molecule's first record")
                else:
                    positions.append(check.place(record.mol.GetConformer().GetPositions()[order])[0])
            ensembles.append(Ensemble(members[0].name, with_positions(first, np.array(positions)), smiles, flat))
    return ensembles, skipped


def records_of(mol: Chem.Mol, name: str) -> Iterator[Record]:
    """One record per conformer of a molecule, as if read from a file."""
    for index, conformer in enumerate(mol.GetConformers()):
        yield Record(index, name, with_positions(mol, conformer.GetPositions()[None]))


def _only(places: list[int]) -> int | None:
    return places[0] if len(places) == 1 else None


class Matcher:
    """Which reference molecule a generated record belongs to.

    In this order, each where exactly one reference fits: same name and flat SMILES; same name and isomeric SMILES; same
    isomeric SMILES; same flat SMILES; same name (then the graph is wrong, or the record is unreadable).
    """

    def __init__(self, references: Sequence[Ensemble]):
        self._at: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for k, ref in enumerate(references):
            for key in (("name", ref.name), ("iso", ref.smiles), ("flat", ref.flat)):
                self._at[key].append(k)
            self._at["name+flat", ref.name, ref.flat].append(k)
            self._at["name+iso", ref.name, ref.smiles].append(k)
        self._flat: dict[tuple, str] = {}

    def _find(self, *key: str) -> int | None:
        return _only(self._at.get(key, []))

    def __call__(self, record: Record) -> tuple[int | None, str]:
        """(index of the reference, status "ok", "wrong graph" or "unreadable"), or (None, why not)."""
        # A nameless reference is known under the number its reader gave it, which the generated record may carry.
        named, problems = self._find("name", record.own_name), []
        if record.mol is None or _usable_position(record.mol) is None:
            problems.append(record.problem or "no usable coordinates")
        else:
            with guarded(record.name, lambda _, reason: problems.append(reason)):
                return self._match(record, record.mol, named)
        return (None, f"{problems[0]}; no single reference has its name") if named is None else (named, UNREADABLE)

    def _match(self, record: Record, mol: Chem.Mol, named: int | None) -> tuple[int | None, str]:
        """For a molecule with coordinates."""
        name, graph = record.own_name, signature(mol)
        flat = self._flat.get(graph)
        if flat is None:  # conformers of one molecule share it, and canonical SMILES are slow
            flat = self._flat[graph] = flat_smiles(mol)
        place = self._find("name+flat", name, flat)
        if place is None and ("flat", flat) in self._at:
            smiles = isomeric_smiles(mol)
            for key in (("name+iso", name, smiles), ("iso", smiles), ("flat", flat)):
                place = self._find(*key) if place is None else place
        if place is not None:
            return place, OK
        if ("flat", flat) in self._at:
            return None, f"{len(self._at['flat', flat])} references share its graph, and neither name nor stereo decides"
        return (None, f"no reference with graph {flat} or this name") if named is None else (named, WRONG_GRAPH)


def rmsd_matrix(reference: Chem.Mol, generated: Chem.Mol, max_matches: int = MAX_MATCHES) -> np.ndarray:
    """RDKit `GetBestRMS` in Å between the conformers of two molecules with the same graph, `[K, n]`.

    On heavy atoms; on all where there are only hydrogens. Symmetry-aware, no reflection. A single heavy atom gives 0. At
    most `max_matches` symmetric atom orders are tried; where a molecule has more (`too_symmetric`), the value is an upper
    bound.
    """
    heavy, probe = heavy_atoms(reference), heavy_atoms(generated)
    ids = [c.GetId() for c in heavy.GetConformers()], [c.GetId() for c in probe.GetConformers()]
    out = np.zeros((len(ids[0]), len(ids[1])))
    if heavy.GetNumAtoms() > 1:
        for i, ref in enumerate(ids[0]):
            for j, gen in enumerate(ids[1]):  # leaves the probe aligned, which the next call does not mind
                out[i, j] = rdMolAlign.GetBestRMS(probe, heavy, gen, ref, maxMatches=max_matches)
    return out


def too_symmetric(mol: Chem.Mol, max_matches: int = MAX_MATCHES) -> bool:
    """Whether the heavy atoms have more symmetric orders than `rmsd_matrix` tries, so that its values are upper bounds."""
    graph = symmetrized(heavy_atoms(mol))
    orders = graph.GetSubstructMatches(graph, uniquify=False, useChirality=False, maxMatches=max_matches + 1)
    return len(orders) > max_matches


@dataclass(frozen=True)
class MoleculeResult:
    """What one method made of one molecule.

    Attributes:
        name, smiles: of the reference.
        status: of each generated conformer in the order of generation, the missing ones at the end; n entries.
        rmsd: r_ij `[K, n]` in Å, ∞ in the columns that are not "ok".
        has_stereo: the molecule has stereo to get wrong.
        geometry: None where no conformer has the right graph.
        checked: how many of its conformers are in the subsample for the slow checks.
        pb_passed, pb_tests: PoseBusters: how many of those passed, and failures per check.
        strain: method -> kcal/mol of those, one entry each; None where it cannot be had (no parameters, not converged,
            wrong graph).
        upper_bound: the molecule has more symmetric atom orders than were tried, so each r_ij may be too large.
        problem: why it could not be evaluated, which makes failures of all its conformers; "" as a rule.
        messages: what RDKit and PoseBusters would have printed, and how often.
    """

    name: str
    smiles: str
    status: tuple[str, ...]
    rmsd: np.ndarray
    has_stereo: bool = False
    fragments: int = 1
    geometry: Geometry | None = None
    checked: int = 0
    pb_passed: int = 0
    pb_tests: Counter[str] = field(default_factory=Counter)
    strain: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    upper_bound: bool = False
    problem: str = ""
    messages: Counter[str] = field(default_factory=Counter)

    @cached_property
    def counts(self) -> Counter[str]:
        """How many conformers have each status."""
        return Counter(self.status)

    @property
    def solved(self) -> bool:
        """Whether any conformer is valid."""
        return self.counts[OK] > 0

    @cached_property
    def recall_minima(self) -> np.ndarray:
        """min_j r_ij, `[K]`; ∞ where unsolved."""
        return self.rmsd.min(1, initial=np.inf)

    @cached_property
    def precision_minima(self) -> np.ndarray:
        """min_i r_ij, `[n]`; ∞ for failures."""
        return self.rmsd.min(0, initial=np.inf)

    def cov_r(self, delta: float) -> float:
        """Share of references within δ of a generated conformer."""
        return float((self.recall_minima < delta).mean())

    def cov_p(self, delta: float) -> float:
        """Share of asked-for conformers within δ of a reference."""
        return float((self.precision_minima < delta).mean()) if len(self.status) else 0.0

    @property
    def amr_r(self) -> float:
        """Å; ∞ where unsolved."""
        return float(self.recall_minima.mean())

    def amr_p(self, failure: float | None = None) -> float:
        """Å, over the valid conformers, or over all with `failure` Å for each that is not valid; ∞ where there is none."""
        values = self.precision_minima
        values = values[np.isfinite(values)] if failure is None else np.where(np.isfinite(values), values, failure)
        return float(values.mean()) if len(values) else float("inf")

    def best_of(self, n: int) -> float:
        """RMSD in Å of the best of the first n conformers, mean over the references; ∞ where none is valid."""
        return float(self.rmsd[:, :n].min(1, initial=np.inf).mean())


@dataclass(frozen=True)
class Evaluation:
    """One method on a set of reference molecules.

    Attributes:
        molecules: in the order of the references, every one of them.
        unmatched: generated records that belong to no reference.
        seconds: wall time of the evaluation.
        cap: at most this many conformers went to PoseBusters and the strain (0: none; None: all), drawn with seed `seed`
            out of `eligible`; `refused` molecules have several fragments and were left out.
    """

    molecules: list[MoleculeResult]
    unmatched: list[Skipped]
    seconds: float = 0.0
    cap: int | None = 0
    seed: int = 0
    eligible: int = 0
    refused: int = 0


def _unpack(packed: bytes) -> Chem.Mol:
    return Chem.Mol(packed)  # type: ignore[call-overload]  # the stubs call it str


def _pack(mol: Chem.Mol) -> bytes:
    """For another process. Plain pickling would round coordinates to single precision."""
    return mol.ToBinary(int(Chem.PropertyPickleOptions.CoordsAsDouble))


class _Task(NamedTuple):
    name: str
    smiles: str
    mol: bytes
    generated: list[tuple[str, bytes | None]]  # status, and the molecule where it is "ok"
    expected: int
    max_matches: int
    checked: list[int]
    strain: tuple[str, ...]


def _evaluate_molecule(task: _Task) -> MoleculeResult:
    """One molecule; a function of the module, so that a worker process can import it."""
    mol, problems = _unpack(task.mol), []
    with rdkit_counts() as messages, guarded(task.name, lambda _, reason: problems.append(reason)):
        return replace(_measured(task, mol), messages=messages)
    n = max(task.expected, len(task.generated))
    status = [UNREADABLE if s == OK else s for s, _ in task.generated] + [MISSING] * (n - len(task.generated))
    nothing = np.full((mol.GetNumConformers(), n), np.inf)
    return MoleculeResult(task.name, task.smiles, tuple(status), nothing, problem=problems[0], messages=messages)


def _measured(task: _Task, mol: Chem.Mol) -> MoleculeResult:
    check = StereoCheck(mol, task.max_matches)
    status = [s for s, _ in task.generated]
    placed: dict[int, np.ndarray] = {}
    for k, (_, packed) in enumerate(task.generated):
        if packed is None:
            continue
        generated = _unpack(packed)
        order = atom_map(mol, generated)
        if order is None:
            status[k] = WRONG_GRAPH
            continue
        placed[k], right = check.place(generated.GetConformer().GetPositions()[order])
        status[k] = OK if right else WRONG_STEREO
    n = max(task.expected, len(status))
    rmsd = np.full((mol.GetNumConformers(), n), np.inf)
    valid = [k for k in placed if status[k] == OK]
    if valid:
        rmsd[:, valid] = rmsd_matrix(mol, with_positions(mol, np.array([placed[k] for k in valid])), task.max_matches)
    # A conformer of the wrong graph, or none at all, does not pass; nor is there anything to show to PoseBusters.
    checked = [with_positions(mol, placed[k][None]) for k in task.checked if k in placed]
    passed, tests = posebusters_failures(checked) if checked else (0, Counter[str]())
    lost = len(task.checked) - len(checked)
    reference = np.array([c.GetPositions() for c in mol.GetConformers()])
    return MoleculeResult(
        name=task.name,
        smiles=task.smiles,
        status=tuple(status + [MISSING] * (n - len(status))),
        rmsd=rmsd,
        has_stereo=check.specified,
        fragments=len(Chem.GetMolFrags(mol)),
        geometry=geometry(mol, reference, np.array(list(placed.values()))) if placed else None,
        checked=len(task.checked),
        pb_passed=passed,
        pb_tests=tests + Counter({WRONG_GRAPH: lost}),
        strain={name: [*map(METHODS[name], checked), *[None] * lost] for name in task.strain},
        upper_bound=bool(valid) and too_symmetric(mol, task.max_matches),
    )


def _one_thread() -> None:
    """In a worker process: tblite's OpenMP would otherwise start a thread per core in each of them."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def evaluate(
    references: Sequence[Ensemble],
    generated: Iterable[Record],
    *,
    expected: int | Sequence[int] | None = None,
    workers: int = 1,
    max_matches: int = MAX_MATCHES,
    checked: int | None = 0,
    strain: Sequence[str] = ("MMFF94s",),
    seed: int = 0,
) -> Evaluation:
    """Compare generated records with reference ensembles.

    Args:
        expected: conformers asked for, for all molecules or for each; 2K by default. What is missing counts as failed; if
            there are more, all are used.
        workers: processes over molecules (spawned, so a script needs the usual `__main__` guard); 1 for none.
        max_matches: bound on the symmetric atom orders tried per molecule (see `rmsd_matrix`, `StereoCheck`).
        checked: most conformers for the slow checks, PoseBusters and strain: a random subsample of all generated ones of
            single-fragment molecules; 0 for none, None for all.
        strain: "MMFF94s", "GFN2-xTB" (needs tblite), both or none.
        seed: of that subsample.
    """
    start = time.perf_counter()
    require(strain)
    if isinstance(expected, Sequence) and len(expected) != len(references):
        raise ValueError(f"expected has {len(expected)} entries for {len(references)} reference molecules")
    matcher = Matcher(references)
    found: list[list[tuple[str, bytes | None]]] = [[] for _ in references]
    unmatched = []
    for record in generated:
        place, status = matcher(record)
        if place is None:
            unmatched.append(Skipped(record.index, record.name, status))
        else:
            found[place].append((status, _pack(record.mol) if status == OK and record.mol is not None else None))
    single = [len(Chem.GetMolFrags(ref.mol)) == 1 for ref in references]
    pool = [(m, k) for m, items in enumerate(found) if single[m] for k in range(len(items))]
    chosen = np.arange(len(pool))
    if checked is not None and checked < len(pool):
        chosen = np.sort(np.random.default_rng(seed).choice(len(pool), checked, replace=False))
    slow: dict[int, list[int]] = defaultdict(list)
    for c in chosen:
        slow[pool[c][0]].append(pool[c][1])
    tasks = []
    for m, ref in enumerate(references):
        n = 2 * ref.size if expected is None else expected if isinstance(expected, int) else expected[m]
        tasks.append(_Task(ref.name, ref.smiles, _pack(ref.mol), found[m], n, max_matches, slow[m], tuple(strain)))
    if workers > 1 and len(tasks) > 1:
        # spawn: a fork of a process in which torch already runs threads may hang
        pool_size, context = min(workers, len(tasks)), get_context("spawn")
        with ProcessPoolExecutor(pool_size, mp_context=context, initializer=_one_thread) as executor:
            results = list(executor.map(_evaluate_molecule, tasks))
    else:
        results = [_evaluate_molecule(task) for task in tasks]
    eligible, refused = (len(pool), single.count(False)) if checked != 0 else (0, 0)
    return Evaluation(results, unmatched, time.perf_counter() - start, checked, seed, eligible, refused)
