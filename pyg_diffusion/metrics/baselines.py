"""What users have otherwise: ETKDGv3, relaxed or not, drawn twice and clustered; openconf. From the graph and its stereo
alone, on one core.

`BASELINES` is the registry; each is opened, and then draws as the others do:

    with BASELINES["mmff2"].open() as draw:
        mol, seconds, problem = draw(reference, n, seed)
"""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from ..chem.conformers import with_positions
from ..chem.heavy import identity_smiles
from ..chem.rdkit_log import rdkit_log
from ..chem.records import Record, guarded
from ..chem.similarity import representatives
from .conformers import Ensemble, records_of

MMFF_ITERATIONS = 2000


class Drawn(NamedTuple):
    """At most n conformers of one molecule, the seconds of one core they took, and why there is none ("" where there is)."""

    mol: Chem.Mol
    seconds: float
    problem: str


# (molecule with explicit hydrogens, n, seed >= 0) -> what was made of it
Draw = Callable[[Chem.Mol, int, int], Drawn]


class BaselineError(ValueError):
    """A baseline that cannot be run at all."""


def etkdg(mol: Chem.Mol, n: int, seed: int = 0, mmff: bool = False, dielectric: float = 1.0) -> tuple[Chem.Mol, float]:
    """n ETKDGv3 conformers of a molecule with explicit hydrogens, and the seconds of one core they took.

    Made from the graph and its stereo tags only: existing conformers are dropped first. Embeddings that fail are not
    replaced, so there may be fewer than n. With `mmff`, MMFF94s minimises each (left as it is where MMFF has no
    parameters).

    Args:
        seed: >= 0. RDKit gets seed + 1, because it multiplies its seed by the conformer's number: 0 would make n equal ones.
        dielectric: constant of MMFF94s' electrostatics.
    """
    copy = Chem.Mol(mol)
    copy.RemoveAllConformers()
    params = rdDistGeom.ETKDGv3()
    params.randomSeed = seed + 1  # type: ignore[assignment]
    params.numThreads = 1  # type: ignore[assignment]
    start = time.process_time()
    with rdBase.BlockLogs():
        rdDistGeom.EmbedMultipleConfs(copy, n, params)
        if mmff and copy.GetNumConformers():
            copy = _minimised(copy, dielectric)
    return copy, time.process_time() - start


def _minimised(mol: Chem.Mol, dielectric: float) -> Chem.Mol:
    """Every conformer moved downhill by MMFF94s; the molecule itself where it has no parameters."""
    work = Chem.Mol(mol)  # MMFF rewrites the aromaticity of the molecule it works on, which would change its graph
    properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(work, mmffVariant="MMFF94s")
    if properties is None:
        return mol
    properties.SetMMFFDielectricConstant(dielectric)
    for conformer in work.GetConformers():
        field = rdForceFieldHelpers.MMFFGetMoleculeForceField(work, properties, confId=conformer.GetId())
        field.Initialize()
        with suppress(RuntimeError):  # a line search that finds no way down: the conformer stays where it is
            field.Minimize(maxIts=MMFF_ITERATIONS)
    return with_positions(mol, np.array([c.GetPositions() for c in work.GetConformers()]))


def _by_rdkit(mol: Chem.Mol, n: int, seed: int, mmff: bool = False, dielectric: float = 1.0, times: int = 1) -> Drawn:
    """ETKDGv3; of `times` as many those n are kept that stand best for all (facility location)."""
    start, problems = time.process_time(), []
    with guarded("", lambda _, reason: problems.append(reason)), rdkit_log():
        made, _ = etkdg(mol, times * n, seed, mmff, dielectric)
        if made.GetNumConformers() > n:
            positions = np.stack([c.GetPositions() for c in made.GetConformers()])
            made = with_positions(made, positions[representatives(made, positions, n)])
        problem = "" if made.GetNumConformers() else "ETKDGv3 finds no conformer"
        return Drawn(made, time.process_time() - start, problem)
    return Drawn(_bare(mol), time.process_time() - start, problems[0])


def _bare(mol: Chem.Mol) -> Chem.Mol:
    copy = Chem.Mol(mol)
    copy.RemoveAllConformers()
    return copy


class OpenConf:
    """openconf (`pip install openconf`, Python 3.12 or later), run by the interpreter of an environment of its own.

    It takes the molecule's SMILES and makes the steps of its preset; near-duplicates it drops itself, so that there may be
    fewer than n conformers. A molecule that ends the process is its failure; the next one gets a new process.

    Args:
        python: that interpreter.
        preset: "ensemble", "docking" or another of openconf's.

    Raises:
        BaselineError: it does not run there.
    """

    def __init__(self, python: str | Path, preset: str):
        self.python, self.preset = str(python), preset
        self._process: subprocess.Popen[str] | None = None
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the process)
        self.version = self._start()

    def _start(self) -> str:
        worker = Path(__file__).with_name("openconf_worker.py")
        # -I: neither this package's folder nor PYTHONPATH, which is meant for another interpreter
        command = [self.python, "-I", str(worker)]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                encoding="utf-8",
                env={**os.environ, **threads},
            )
        except OSError as error:
            raise BaselineError(f"--openconf-python {self.python}: {error.strerror or error}") from error
        hello = self._read()
        if hello is None:
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace").strip().splitlines() or ["it says nothing"]
            raise BaselineError(
                f"--openconf-python {self.python}: openconf does not run there ({said[-1]}); it needs Python 3.12 or later "
                f"and {self.python} -m pip install openconf"
            )
        return hello["version"]

    def _read(self) -> dict | None:
        """The next line of the process; None where it has ended."""
        assert self._process is not None and self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line else None

    def __call__(self, mol: Chem.Mol, n: int, seed: int) -> Drawn:
        with rdkit_log():
            smiles = identity_smiles(mol)
            plain = Chem.MolFromSmiles(smiles)
        if plain is None:
            return Drawn(_bare(mol), 0.0, "RDKit does not read its SMILES again")
        if self._process is None:
            self._start()
        assert self._process is not None and self._process.stdin is not None
        request = {"smiles": smiles, "n": n, "seed": seed, "preset": self.preset}
        start = time.perf_counter()
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            found = self._read()
        except BrokenPipeError:
            found = None
        if found is None:
            code = self._process.wait()
            self._process = None
            return Drawn(_bare(mol), time.perf_counter() - start, f"openconf ended with exit status {code}")
        full = Chem.AddHs(plain)
        problem = found.get("problem", "")
        if not problem and found["numbers"] != [a.GetAtomicNum() for a in full.GetAtoms()]:
            problem = "openconf returned other atoms"
        if not problem and not found["positions"]:
            problem = "openconf finds no conformer"
        made = _bare(mol) if problem else with_positions(full, np.array(found["positions"]))
        return Drawn(made, found["seconds"], problem)

    def close(self) -> None:
        """End the process."""
        self._errors.close()
        if self._process is not None:
            self._process.communicate()  # closes its stdin, upon which it ends
            self._process = None


@contextmanager
def _openconf(preset: str, python: str | Path | None) -> Iterator[Draw]:
    if python is None:
        raise BaselineError(
            "openconf needs an environment of its own: python3.12 -m venv openconf_env && openconf_env/bin/pip install "
            "openconf, then --openconf-python openconf_env/bin/python"
        )
    process = OpenConf(python, preset)
    try:
        yield process
    finally:
        process.close()


@dataclass(frozen=True)
class Baseline:
    """A method to compare with.

    Attributes:
        label: in tables.
        start: called with the interpreter for openconf (or None), gives the context in which it draws.
    """

    label: str
    start: Callable[[str | Path | None], AbstractContextManager[Draw]]

    def open(self, openconf_python: str | Path | None = None) -> AbstractContextManager[Draw]:
        """The context that gives `Draw`; raises `BaselineError`, on entering, where the method cannot be run."""
        return self.start(openconf_python)


def _rdkit_baseline(label: str, **options) -> Baseline:
    return Baseline(label, lambda _: nullcontext(partial(_by_rdkit, **options)))


BASELINES: dict[str, Baseline] = {
    "etkdg": _rdkit_baseline("ETKDGv3"),
    "mmff": _rdkit_baseline("ETKDGv3 + MMFF94s", mmff=True),
    "mmff4": _rdkit_baseline("ETKDGv3 + MMFF94s(eps=4)", mmff=True, dielectric=4.0),
    "etkdg2": _rdkit_baseline("ETKDGv3, 2x drawn", times=2),
    "mmff2": _rdkit_baseline("ETKDGv3 + MMFF94s, 2x drawn", mmff=True, times=2),
    "openconf": Baseline("openconf", partial(_openconf, "ensemble")),
    "openconf-docking": Baseline("openconf, docking", partial(_openconf, "docking")),
}


@dataclass
class Made:
    """What a baseline made of several molecules.

    Attributes:
        records: its conformers, as if read from a file.
        seconds: of one core.
        problems: (name, reason) of the molecules it has none of.
    """

    records: list[Record] = field(default_factory=list)
    seconds: float = 0.0
    problems: list[tuple[str, str]] = field(default_factory=list)

    def cost(self) -> dict[str, float | int]:
        """Rows of a table."""
        return {"seconds per conformer": self.seconds / max(1, len(self.records)), "threads": 1}


def draw_each(draw: Draw, references: Iterable[Ensemble], counts: Sequence[int], seed: int) -> Made:
    """`counts` conformers of every reference molecule."""
    made = Made()
    for reference, count in zip(references, counts, strict=True):
        mol, seconds, problem = draw(reference.mol, count, seed)
        made.records += records_of(mol, reference.name)
        made.seconds += seconds
        if problem:
            made.problems.append((reference.name, problem))
    return made
