"""How conformers were drawn, as files of many models: SDF, or extended XYZ.

Every frame is a record: its coordinates are S_t; D, frame, t, τ, the modes' eigenvalues and signal-to-noise stand beside.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from rdkit import Chem

from ...chem import with_positions
from ...chem.writing import one_line, sdf_text
from ...console import Output, UsageError
from ...sample import Recording, Trajectory
from .conformers import Conformers
from .inputs import Entry
from .two_stages import SecondStage

SUFFIXES = (".sdf", ".xyz")
MOST = 100  # conformers
NAMES = ("trajectory", "frame", "t", "tau", "eigenvalues", "snr")


class TrajectoryFile:
    """A file that trajectories are written to, conformer by conformer.

    Args:
        path: SDF or XYZ.
        record: what of them is kept.
    """

    def __init__(self, path: str, record: Recording):
        self.record, self.out = record, Output(path)
        self.text = _xyz if path.lower().endswith(".xyz") else _sdf
        self.written = 0

    def checked(self, entries: Iterable[Entry], wanted: Callable[[Entry], int]) -> Iterator[Entry]:
        """The entries, once it is clear that there is room for all their conformers.

        Raises:
            UsageError: there is none.
        """
        found, total = [], 0
        for entry in entries:
            total += wanted(entry)
            if total > MOST:
                raise UsageError(f"--trajectory holds at most {MOST} conformers, and more are asked for")
            found.append(entry)
        return iter(found)

    def __call__(self, entry: Entry, result: Conformers) -> None:
        """Write what was recorded of a molecule's conformers."""
        mol = entry.record.mol
        assert mol is not None
        for trajectory in result.trajectories:
            if trajectory.signal.size(1) < mol.GetNumAtoms():  # of two stages the first was recorded
                fixed = None if entry.fixed is None else torch.from_numpy(np.asarray(entry.fixed)).float()
                mol = _only(mol, SecondStage(entry.molecule, "", fixed).skeleton.kept)
            for frame in range(len(trajectory.t)):
                self.out.write(self.text(mol, trajectory, frame, self.written))
            self.written += 1


def _only(mol: Chem.Mol, kept: np.ndarray) -> Chem.Mol:
    """The molecule without its other atoms."""
    part = Chem.RWMol(mol)
    for atom in sorted(set(range(mol.GetNumAtoms())) - set(kept.tolist()), reverse=True):
        part.RemoveAtom(atom)
    return part.GetMol()


def _facts(trajectory: Trajectory, frame: int, number: int) -> dict[str, str]:
    facts = {"trajectory": str(number), "frame": str(frame)}
    facts |= {"t": f"{float(trajectory.t[frame]):.6g}", "tau": f"{float(trajectory.tau[frame]):.6g}"}
    if trajectory.eigenvalues is not None and trajectory.snr is not None:
        facts["eigenvalues"] = " ".join(f"{v:.4g}" for v in trajectory.eigenvalues.tolist())
        facts["snr"] = " ".join(f"{v:.4g}" for v in trajectory.snr[frame].tolist())
    return facts


def _sdf(mol: Chem.Mol, trajectory: Trajectory, frame: int, number: int) -> str:
    placed = with_positions(mol, trajectory.signal[frame].double().numpy()[None])
    for name in list(placed.GetPropNames()):
        placed.ClearProp(name)
    for name, value in _facts(trajectory, frame, number).items():
        placed.SetProp(name, value)
    placed.SetProp("denoised", "\n".join(" ".join(f"{c:.4f}" for c in row) for row in trajectory.denoised[frame].tolist()))
    return sdf_text(placed, 0)


def _xyz(mol: Chem.Mol, trajectory: Trajectory, frame: int, number: int) -> str:
    facts = " ".join(f'{name}="{value}"' for name, value in _facts(trajectory, frame, number).items())
    name = one_line(mol.GetProp("_Name")).replace('"', "'") if mol.HasProp("_Name") else ""
    lines = [str(mol.GetNumAtoms()), f'Properties=species:S:1:pos:R:3:denoised:R:3 name="{name}" {facts}']
    both = torch.cat([trajectory.signal[frame], trajectory.denoised[frame]], 1).tolist()
    for atom, row in zip(mol.GetAtoms(), both, strict=True):
        lines.append(f"{atom.GetSymbol()} " + " ".join(f"{c:.4f}" for c in row))
    return "\n".join(lines) + "\n"


def read_trajectories(path: Path) -> list[tuple[Chem.Mol, Trajectory]]:
    """Each trajectory of a file, with its molecule.

    Raises:
        ValueError: not a file of trajectories.
    """
    frames: dict[str, list[tuple[Chem.Mol, Mapping[str, str], np.ndarray, np.ndarray]]] = {}
    try:
        for mol, facts, signal, denoised in (_xyz_frames if path.suffix.lower() == ".xyz" else _sdf_frames)(path):
            frames.setdefault(facts["trajectory"], []).append((mol, facts, signal, denoised))
        found = [(own[0][0], _joined(own)) for own in frames.values()]
    except (KeyError, ValueError, IndexError, AttributeError, StopIteration, OSError) as error:
        raise ValueError(
            f"{path}: no trajectory as 'pyg-diffusion sample --trajectory' writes it ({error!r:.60})"
        ) from error
    if not found:
        raise ValueError(f"{path}: no trajectory in it")
    return found


def _joined(own: Sequence[tuple[Chem.Mol, Mapping[str, str], np.ndarray, np.ndarray]]) -> Trajectory:
    def numbers(name: str) -> torch.Tensor:
        return torch.tensor([float(facts[name]) for _, facts, _, _ in own])

    eigenvalues = snr = None
    if "snr" in own[0][1]:
        eigenvalues = torch.tensor([float(v) for v in own[0][1]["eigenvalues"].split()])
        snr = torch.tensor([[float(v) for v in facts["snr"].split()] for _, facts, _, _ in own])
    signal, denoised = (torch.from_numpy(np.stack([frame[k] for frame in own])).float() for k in (2, 3))  # type: ignore[misc]
    return Trajectory(numbers("t"), numbers("tau"), signal, denoised, eigenvalues, snr)


def _sdf_frames(path: Path) -> Iterator[tuple[Chem.Mol, Mapping[str, str], np.ndarray, np.ndarray]]:
    for mol in Chem.SDMolSupplier(str(path), removeHs=False):
        facts = {name: mol.GetProp(name) for name in NAMES if mol.HasProp(name)}
        denoised = np.array([[float(c) for c in row.split()] for row in mol.GetProp("denoised").splitlines()])
        yield mol, facts, mol.GetConformer().GetPositions(), denoised.reshape(mol.GetNumAtoms(), 3)


def _xyz_frames(path: Path) -> Iterator[tuple[Chem.Mol, Mapping[str, str], np.ndarray, np.ndarray]]:
    lines = iter(path.read_text(encoding="utf-8").splitlines())
    for count in lines:
        if not count.strip():
            continue
        facts = {}
        for part in next(lines).split('" '):
            name, equals, value = part.rpartition('="')
            if equals:
                facts[name.split()[-1]] = value.rstrip('"')
        rows = [next(lines).split() for _ in range(int(count))]
        mol = Chem.RWMol()
        for row in rows:
            mol.AddAtom(Chem.Atom(row[0]))
        numbers = np.array([[float(c) for c in row[1:7]] for row in rows])
        yield mol.GetMol(), facts, numbers[:, :3], numbers[:, 3:]
