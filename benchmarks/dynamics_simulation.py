"""Alanine dipeptide, ACE-ALA-NME, simulated by OpenMM on one core, in segments that a later call goes on with.

Amber99SB-ILDN in OBC2 implicit solvent without a cutoff, bonds to hydrogens constrained, hydrogens of 3 amu (mass taken from
their neighbours, which moves no average over positions), Langevin middle integrator at 300 K and 1/ps, steps of 4 fs.
"""

import os
import time
from pathlib import Path

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdDistGeom

SMILES = "CC(=O)N[C@@H](C)C(=O)NC"
# Residue and name of each heavy atom of the SMILES, and the names of its hydrogens.
NAMES = [
    ("ACE", "CH3", "HH31 HH32 HH33"), ("ACE", "C", ""), ("ACE", "O", ""), ("ALA", "N", "H"), ("ALA", "CA", "HA"),
    ("ALA", "CB", "HB1 HB2 HB3"), ("ALA", "C", ""), ("ALA", "O", ""), ("NME", "N", "H"), ("NME", "C", "H1 H2 H3"),
]  # fmt: skip
FORCE_FIELD = ("amber99sbildn.xml", "amber99_obc.xml")  # OBC2, which OpenMM has in one fast force for this file
KELVIN, FRICTION, STEP_FS, HYDROGEN_AMU = 300.0, 1.0, 4.0, 3.0
FRAME_PS = 1.0
SEGMENT = 250  # frames, so a quarter of a nanosecond
EQUILIBRATION_PS = 100.0
SETTINGS = {
    "force_field": list(FORCE_FIELD),
    "kelvin": KELVIN,
    "friction_per_ps": FRICTION,
    "step_fs": STEP_FS,
    "hydrogen_amu": HYDROGEN_AMU,
    "frame_ps": FRAME_PS,
    "equilibration_ps": EQUILIBRATION_PS,
    "constraints": "bonds to hydrogens",
}


def built():
    """(OpenMM topology, positions in nm, index of each named atom): L-alanine between its caps, embedded by ETKDGv3."""
    from openmm import app

    mol = Chem.AddHs(Chem.MolFromSmiles(SMILES))
    rdDistGeom.EmbedMolecule(mol, randomSeed=1)
    topology, made, indices = app.Topology(), {}, {}
    chain, residues = topology.addChain("A"), {}
    for heavy, (residue, name, hydrogens) in enumerate(NAMES):
        if residue not in residues:
            residues[residue] = topology.addResidue(residue, chain, str(len(residues) + 1))
        bound = [n.GetIdx() for n in mol.GetAtomWithIdx(heavy).GetNeighbors() if n.GetAtomicNum() == 1]
        for k, called in zip([heavy, *bound], [name, *hydrogens.split()], strict=True):
            element = app.Element.getByAtomicNumber(mol.GetAtomWithIdx(k).GetAtomicNum())
            made[k] = topology.addAtom(called, element, residues[residue])
            indices[residue, called] = made[k].index
    for bond in mol.GetBonds():
        topology.addBond(made[bond.GetBeginAtomIdx()], made[bond.GetEndAtomIdx()])
    order = sorted(made, key=lambda k: made[k].index)
    return topology, mol.GetConformer().GetPositions()[order] / 10, indices


def torsions(indices: dict[tuple[str, str], int]) -> tuple[list[int], list[int]]:
    """Atoms of φ and ψ."""
    c, n, ca, co, after = (indices[name] for name in (("ACE", "C"), ("ALA", "N"), ("ALA", "CA"), ("ALA", "C"), ("NME", "N")))
    return [c, n, ca, co], [n, ca, co, after]


def simulation_of(seed: int, platform: str, step_fs: float = STEP_FS):
    """An OpenMM `Simulation` on one thread, and the positions to begin with."""
    import openmm
    from openmm import app, unit

    topology, positions, _ = built()
    system = app.ForceField(*FORCE_FIELD).createSystem(
        topology, nonbondedMethod=app.NoCutoff, constraints=app.HBonds, hydrogenMass=HYDROGEN_AMU * unit.amu
    )
    integrator = openmm.LangevinMiddleIntegrator(
        KELVIN * unit.kelvin, FRICTION / unit.picosecond, step_fs * unit.femtoseconds
    )
    integrator.setRandomNumberSeed(seed)
    properties = {"Threads": "1"} if platform == "CPU" else {}
    made = app.Simulation(topology, system, integrator, openmm.Platform.getPlatformByName(platform), properties)
    return made, positions


def segments(folder: Path, run: int) -> list[Path]:
    """Trajectories of a run that are whole, in order: those before its last state."""
    states = sorted((folder / f"run{run}").glob("*.xml"))
    last = int(states[-1].stem) if states else -1
    return [folder / f"run{run}" / f"{k:05d}.xtc" for k in range(last + 1)]


def write_topology(folder: Path) -> Path:
    """The molecule as PDB, with its CONECT lines."""
    from openmm import app

    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "dipeptide.pdb"
    topology, positions, _ = built()
    with open(target, "w") as file:
        app.PDBFile.writeFile(topology, positions * 10, file)
    return target


def simulate(folder: Path, run: int, ns: float, minutes: float, platform: str) -> float:
    """Go on with a run until it has so many nanoseconds, or for so many minutes of a core; nanoseconds that it has.

    A segment counts once its last state is written, which is after its trajectory. The noise of each call has a seed of its
    own, 1000 (run + 1) + the number of segments before.
    """
    from mdtraj.formats import XTCTrajectoryFile
    from openmm import unit

    own, end = folder / f"run{run}", time.process_time() + 60 * minutes
    own.mkdir(parents=True, exist_ok=True)
    done = len(segments(folder, run))
    wanted = round(ns * 1000 / FRAME_PS / SEGMENT)
    seed = 1000 * (run + 1) + done
    simulation, positions = simulation_of(seed, platform)
    if done < wanted:
        if done:
            simulation.loadState(str(own / f"{done - 1:05d}.xml"))
        else:
            simulation.context.setPositions(positions)
            simulation.minimizeEnergy()
            simulation.context.setVelocitiesToTemperature(KELVIN * unit.kelvin, seed)
            simulation.step(round(1000 * EQUILIBRATION_PS / STEP_FS))
    steps, frames = round(1000 * FRAME_PS / STEP_FS), np.empty((SEGMENT, simulation.topology.getNumAtoms(), 3), np.float32)
    while done < wanted and time.process_time() < end:
        for k in range(SEGMENT):
            simulation.step(steps)
            frames[k] = (
                simulation.context.getState(getPositions=True).getPositions(asNumpy=True).value_in_unit(unit.nanometer)
            )
        number = np.arange(done * SEGMENT, (done + 1) * SEGMENT, dtype=np.int32) + 1
        with XTCTrajectoryFile(str(own / "writing.xtc"), "w") as file:
            file.write(frames, time=(FRAME_PS * number).astype(np.float32), step=number)
        os.replace(own / "writing.xtc", own / f"{done:05d}.xtc")
        simulation.saveState(str(own / "writing.state"))
        os.replace(own / "writing.state", own / f"{done:05d}.xml")
        (own / f"{done - 1:05d}.xml").unlink(missing_ok=True)
        done += 1
    return done * SEGMENT * FRAME_PS / 1000


def nanoseconds_a_day(platform: str, seconds: float = 3.0) -> float:
    """Speed of one core."""
    simulation, positions = simulation_of(1, platform)
    simulation.context.setPositions(positions)
    simulation.minimizeEnergy()
    simulation.step(500)
    begin, steps = time.process_time(), 0
    while time.process_time() < begin + seconds:
        simulation.step(500)
        simulation.context.getState(getEnergy=True)
        steps += 500
    return steps * STEP_FS * 1e-6 / (time.process_time() - begin) * 86400
