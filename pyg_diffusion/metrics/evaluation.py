"""Generated records scored against reference ensembles, molecule by molecule."""

import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
from rdkit import Chem

from .. import extras
from ..chem.conformers import with_positions
from ..chem.rdkit_log import rdkit_counts
from ..chem.records import Record, guarded
from ..chem.relax import require
from .matcher import Matcher
from .references import Ensemble
from .result import MISSING, OK, UNREADABLE, WRONG_GRAPH, WRONG_STEREO, Evaluation, MoleculeResult, UnusedRecord
from .rmsd import MAX_MATCHES, rmsd_matrix, too_symmetric
from .strain import METHODS
from .validity import StereoCheck, atom_map, geometry, posebusters_failures


def _unpack(packed: bytes) -> Chem.Mol:
    return Chem.Mol(packed)  # type: ignore[call-overload]  # the stubs call it str


def _pack(mol: Chem.Mol) -> bytes:
    """For another process. Plain pickling would round coordinates to single precision."""
    return mol.ToBinary(int(Chem.PropertyPickleOptions.CoordsAsDouble))


Found = list[tuple[str, bytes | None]]  # of one molecule: status, and what was generated where that is "ok"


class _Job(NamedTuple):
    name: str
    smiles: str
    mol: bytes
    generated: Found
    expected: int
    max_matches: int
    checked: list[int]
    strain: tuple[str, ...]


def _evaluate_molecule(job: _Job) -> MoleculeResult:
    """One molecule; a function of the module, so that a worker process can import it."""
    mol, problems = _unpack(job.mol), []
    with rdkit_counts() as messages, guarded(job.name, lambda _, reason: problems.append(reason)):
        return replace(_measured(job, mol), messages=messages)
    n = max(job.expected, len(job.generated))
    status = [UNREADABLE if s == OK else s for s, _ in job.generated] + [MISSING] * (n - len(job.generated))
    nothing = np.full((mol.GetNumConformers(), n), np.inf)
    return MoleculeResult(job.name, job.smiles, tuple(status), nothing, problem=problems[0], messages=messages)


def _measured(job: _Job, mol: Chem.Mol) -> MoleculeResult:
    check = StereoCheck(mol, job.max_matches)
    status = [s for s, _ in job.generated]
    placed: dict[int, np.ndarray] = {}
    for k, (_, packed) in enumerate(job.generated):
        if packed is None:
            continue
        generated = _unpack(packed)
        order = atom_map(mol, generated)
        if order is None:
            status[k] = WRONG_GRAPH
            continue
        placed[k], right = check.place(generated.GetConformer().GetPositions()[order])
        status[k] = OK if right else WRONG_STEREO
    n = max(job.expected, len(status))
    rmsd = np.full((mol.GetNumConformers(), n), np.inf)
    valid = [k for k in placed if status[k] == OK]
    if valid:
        rmsd[:, valid] = rmsd_matrix(mol, with_positions(mol, np.array([placed[k] for k in valid])), job.max_matches)
    # A conformer of the wrong graph, or none at all, does not pass; nor is there anything to show to PoseBusters.
    checked = [with_positions(mol, placed[k][None]) for k in job.checked if k in placed]
    passed, tests = posebusters_failures(checked) if checked else (0, Counter[str]())
    lost = len(job.checked) - len(checked)
    reference = np.array([c.GetPositions() for c in mol.GetConformers()])
    return MoleculeResult(
        name=job.name,
        smiles=job.smiles,
        status=tuple(status + [MISSING] * (n - len(status))),
        rmsd=rmsd,
        has_stereo=check.specified,
        fragments=len(Chem.GetMolFrags(mol)),
        geometry=geometry(mol, reference, np.array(list(placed.values()))) if placed else None,
        checked=len(job.checked),
        pb_passed=passed,
        pb_tests=tests + Counter({WRONG_GRAPH: lost}),
        strain={name: [*map(METHODS[name], checked), *[None] * lost] for name in job.strain},
        upper_bound=bool(valid) and too_symmetric(mol, job.max_matches),
    )


def _one_thread() -> None:
    """In a worker process: tblite's OpenMP would otherwise start a thread per core in each of them."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def _matched(references: Sequence[Ensemble], generated: Iterable[Record]) -> tuple[list[Found], list[UnusedRecord]]:
    """What was generated of each reference, and the records that belong to none."""
    matcher = Matcher(references)
    found: list[Found] = [[] for _ in references]
    unmatched = []
    for record in generated:
        place, status = matcher(record)
        if place is None:
            unmatched.append(UnusedRecord(record.index, record.name, status))
        else:
            found[place].append((status, _pack(record.mol) if status == OK and record.mol is not None else None))
    return found, unmatched


def _subsample(pool: list[tuple[int, int]], size: int | None, seed: int) -> dict[int, list[int]]:
    """Molecule -> its conformers among `size` drawn from the pool of (molecule, conformer); all if None."""
    chosen = np.arange(len(pool))
    if size is not None and size < len(pool):
        chosen = np.sort(np.random.default_rng(seed).choice(len(pool), size, replace=False))
    drawn: dict[int, list[int]] = defaultdict(list)
    for c in chosen:
        drawn[pool[c][0]].append(pool[c][1])
    return drawn


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

    Raises:
        MissingPackage: `checked` is not 0 and PoseBusters is not installed, or tblite for GFN2-xTB.
    """
    start = time.perf_counter()
    require(strain)
    if checked != 0:
        extras.require("posebusters", "eval", "the slow checks (--busters 0 leaves them out)")
    if isinstance(expected, Sequence) and len(expected) != len(references):
        raise ValueError(f"expected has {len(expected)} entries for {len(references)} reference molecules")
    found, unmatched = _matched(references, generated)
    single = [len(Chem.GetMolFrags(ref.mol)) == 1 for ref in references]
    pool = [(m, k) for m, items in enumerate(found) if single[m] for k in range(len(items))]
    slow = _subsample(pool, checked, seed)
    jobs = []
    for m, ref in enumerate(references):
        n = 2 * ref.size if expected is None else expected if isinstance(expected, int) else expected[m]
        jobs.append(_Job(ref.name, ref.smiles, _pack(ref.mol), found[m], n, max_matches, slow[m], tuple(strain)))
    if workers > 1 and len(jobs) > 1:
        # spawn: a fork of a process in which torch already runs threads may hang
        pool_size, context = min(workers, len(jobs)), get_context("spawn")
        with ProcessPoolExecutor(pool_size, mp_context=context, initializer=_one_thread) as executor:
            results = list(executor.map(_evaluate_molecule, jobs))
    else:
        results = [_evaluate_molecule(job) for job in jobs]
    eligible, refused = (len(pool), single.count(False)) if checked != 0 else (0, 0)
    return Evaluation(results, unmatched, time.perf_counter() - start, checked, seed, eligible, refused)
