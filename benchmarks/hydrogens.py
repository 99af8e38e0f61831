"""The second stage alone: how good are hydrogens, given the heavy atoms of a reference?

    python benchmarks/hydrogens.py [REFERENCE.sdf.gz ...] [--weights FILE | --train RECIPE] [--quick] [--level NAME]
        [--molecules 400] [--seed 0]

Weights of two stages, or a run of the second alone, which is trained for ten minutes on bundled molecules if none is given.
One draw for each conformer, against its own hydrogens: error of X-H lengths and of the angles H-X-heavy, root mean square
deviation over all atoms (nothing is superposed; equivalent hydrogens in their best order), right stereo, and the share of
the reference's hydrogen bonds that are there (H to N or O within 2.5 Å, 4 or more bonds away). What has several places,
such as the hydrogen of a free OH, is drawn, so the deviation cannot be 0. Beside it RDKit's `AddHs(addCoords=True)`. Prints
the table, writes benchmarks/results/hydrogens.json.
"""

import argparse
import json
import time
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from machine import machine
from rdkit import Chem
from trained import CONFIGS, add_weights, results, weights_of

from pyg_diffusion.chem import check_stereo, molecule_from_mol, read_sdf, stereo_of
from pyg_diffusion.chem.skeleton import second_of, standing_in
from pyg_diffusion.nn import HydrogenNet
from pyg_diffusion.nn.hydrogen_net import DRAWS
from pyg_diffusion.tasks.molecules.two_stages import SecondStage, complete
from pyg_diffusion.weights_io import load_pretrained

HERE = Path(__file__).parent
BATCH = 100
SMALL = (  # of configs/hydrogens_cpu.yaml, on bundled molecules
    "data.store=store/qm9_3000.h5",
    "data.repeat=[]",
    'model.levels=["B3LYP/6-31G(2df,p)"]',
    "train.max_minutes=10",
)
BONDED = 2.5  # Å


def ours(net: HydrogenNet, level: str, seed: int) -> Callable[[list[Chem.Mol]], list[np.ndarray]]:
    """Positions of all atoms, drawn from those of the skeleton."""

    def draw(mols: list[Chem.Mol]) -> list[np.ndarray]:
        stages = [SecondStage(molecule_from_mol(mol, conformers=False), level) for mol in mols]
        known = [m.GetConformer().GetPositions()[s.skeleton.kept] for m, s in zip(mols, stages, strict=True)]
        draws = np.random.default_rng(seed)
        noise = [draws.standard_normal((m.GetNumAtoms(), DRAWS), dtype=np.float32) for m in mols]
        return complete(net, stages, known, noise, "cpu")

    return draw


def rdkit(mols: list[Chem.Mol]) -> list[np.ndarray]:
    """The same by RDKit, of the same atoms in the same order."""
    made = []
    for mol in mols:
        second = second_of(molecule_from_mol(mol, conformers=False))
        order = [*np.flatnonzero(~second).tolist(), *np.flatnonzero(second).tolist()]
        bare = Chem.RWMol(mol)
        for k in sorted(np.flatnonzero(second).tolist(), reverse=True):
            atom = bare.GetAtomWithIdx(k)
            parent = atom.GetNeighbors()[0]
            parent.SetNumExplicitHs(parent.GetNumExplicitHs() + 1)
            bare.RemoveAtom(k)
        full = Chem.AddHs(bare.GetMol(), addCoords=True)
        parents = standing_in(second, molecule_from_mol(mol, conformers=False).bond_index.astype(int))
        free: dict[int, list[int]] = {}
        for atom in list(full.GetAtoms())[int((~second).sum()) :]:
            free.setdefault(order[atom.GetNeighbors()[0].GetIdx()], []).append(atom.GetIdx())
        pos, found = np.array(mol.GetConformer().GetPositions()), full.GetConformer().GetPositions()
        for k in np.flatnonzero(second):
            pos[k] = found[free[int(parents[k])].pop()]
        made.append(pos)
    return made


def score(mol: Chem.Mol, drawn: np.ndarray) -> dict[str, list[float]]:
    """Every number of one conformer; what is averaged is the list over all of them."""
    true = np.array(mol.GetConformer().GetPositions())
    molecule = molecule_from_mol(mol, conformers=False)
    second = second_of(molecule)
    parents = standing_in(second, molecule.bond_index.astype(int))
    out: dict[str, list[float]] = {"length": [], "angle": [], "bonds found": []}
    square = 0.0
    for parent in np.unique(parents[second]).tolist():
        mine = np.flatnonzero(second & (parents == parent))
        square += min(float(((drawn[list(order)] - true[mine]) ** 2).sum()) for order in permutations(mine))
        to = [np.linalg.norm(x[mine] - x[parent], axis=1) for x in (drawn, true)]
        out["length"] += np.abs(np.sort(to[0]) - np.sort(to[1])).tolist()
        for atom in mol.GetAtomWithIdx(parent).GetNeighbors():
            if not second[atom.GetIdx()]:
                angles = [np.sort(_angles(x, mine, parent, atom.GetIdx())) for x in (drawn, true)]
                out["angle"] += np.abs(angles[0] - angles[1]).tolist()
    far = Chem.GetDistanceMatrix(mol) > 3
    polar = np.isin(molecule.z, (7, 8))
    for k in np.flatnonzero(second & polar[parents]):
        for j in np.flatnonzero(far[k] & polar & (np.linalg.norm(true - true[k], axis=1) < BONDED)):
            rivals = np.flatnonzero(second & (parents == parents[k]))
            out["bonds found"].append(float(np.linalg.norm(drawn[rivals] - drawn[j], axis=1).min() < BONDED))
    out["rmsd"] = [float(np.sqrt(square / len(true)))]
    out["stereo"] = [float(check_stereo(stereo_of(mol), drawn))]
    return out


def _angles(x: np.ndarray, ends: np.ndarray, centre: int, other: int) -> np.ndarray:
    """end-centre-other in degrees."""
    a, b = x[ends] - x[centre], x[other] - x[centre]
    cosine = a @ b / np.linalg.norm(a, axis=1) / np.linalg.norm(b)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_weights(parser)
    parser.add_argument("references", nargs="*", default=[str(HERE.parent / "datasets" / "qm9_ensembles_20.sdf.gz")])
    parser.add_argument("--level", default=None)
    parser.add_argument("--molecules", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    weights = weights_of(args, CONFIGS / "hydrogens_cpu.yaml", SMALL)
    assert weights.path is not None
    denoiser, _ = load_pretrained(weights.path)
    net = denoiser.net if isinstance(denoiser.net, HydrogenNet) else denoiser.second
    if not isinstance(net, HydrogenNet):
        parser.error(f"{weights.path}: weights of one stage, which draws all atoms")
    level = args.level or next(iter(net.levels), "")
    methods = {f"ours, {level}": ours(net, level, args.seed), "RDKit AddHs": rdkit}
    count = min(args.molecules, 20) if args.quick else args.molecules
    text: dict = {"machine": machine(), "weights": weights.about, "seed": args.seed, "references": {}}
    for reference in args.references:
        mols = [r.mol for r in read_sdf(reference) if r.mol is not None]
        chosen = np.random.default_rng(args.seed).permutation(len(mols))[:count]
        mols = [mols[k] for k in sorted(chosen.tolist())]
        print(f"{Path(reference).name}, {len(mols)} conformers")
        rows = text["references"][Path(reference).name] = {}
        for name, method in methods.items():
            method(mols[:BATCH])  # once to warm up
            begin = time.perf_counter()
            drawn = [x for k in range(0, len(mols), BATCH) for x in method(mols[k : k + BATCH])]
            seconds = time.perf_counter() - begin
            scored = [score(mol, x) for mol, x in zip(mols, drawn, strict=True)]
            every = {key: np.concatenate([s[key] for s in scored]) for key in scored[0]}
            rows[name] = {
                "X-H length, mean error (Å)": float(every["length"].mean()),
                "H-X-heavy angle, mean error (°)": float(every["angle"].mean()),
                "RMSD over all atoms, median (Å)": float(np.median(every["rmsd"])),
                "RMSD over all atoms, mean (Å)": float(every["rmsd"].mean()),
                "right stereo": float(every["stereo"].mean()),
                "hydrogen bonds found": float(every["bonds found"].mean()) if len(every["bonds found"]) else None,
                "ms per conformer": 1e3 * seconds / len(mols),
            }
            print(f"  {name}: " + ", ".join(f"{k} {v:.3f}" for k, v in rows[name].items() if v is not None), flush=True)
    target = results(args) / "hydrogens.json"
    target.write_text(json.dumps(text, indent=1, ensure_ascii=False) + "\n")
    print(target)


if __name__ == "__main__":
    main()
