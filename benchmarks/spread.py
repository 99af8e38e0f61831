"""How far from a pose do conformers lie that were made by noising it up to τ, and back?

    python benchmarks/spread.py [datasets/zinc_100.smi] [--molecules 24] [--weights FILE | --train RECIPE] [--quick]

Poses are MMFF94s minima below one ETKDGv3 conformer each, of molecules drawn evenly from the file: not the model's own
samples, nor of its level, as a pose from elsewhere is. Each is noised `DRAWS` times up to each τ and denoised in as many
steps as a draw has by default. Of each molecule the median best RMSD to its pose over heavy atoms (symmetric atoms
interchanged, no reflection); over molecules its quartiles. `tasks/molecules/kept.py` holds the medians, from which
`sample --around --spread` takes its τ. Prints the table, writes results/spread.json.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from machine import machine
from rdkit import Chem
from rdkit.Chem import rdMolDescriptors
from rdkit.Chem.rdDistGeom import EmbedMolecule
from torch import Tensor
from torch_geometric.data import Batch
from trained import add_weights, results, weights_of

from pyg_diffusion import ConformerGenerator
from pyg_diffusion.chem import molecule_from_mol, read_records, with_positions
from pyg_diffusion.chem.heavy import heavy_atoms
from pyg_diffusion.chem.relax import relax_mmff
from pyg_diffusion.chem.skeleton import skeleton
from pyg_diffusion.metrics.rmsd import rmsd_matrix
from pyg_diffusion.sample import Renoised, time_grid
from pyg_diffusion.tasks.molecules.recipe import TAU_RANGE

HERE = Path(__file__).parent
TAUS = np.geomspace(0.01, 20, 9)
DRAWS = 4


def poses(path: str, count: int) -> list[Chem.Mol]:
    """Molecules of a file, evenly, each with one conformer at a minimum of MMFF94s."""
    usable = [record.mol for record in read_records(path, need_3d=False) if record.mol is not None]
    found = []
    for mol in usable[:: max(1, len(usable) // count)][:count]:
        if EmbedMolecule(mol, randomSeed=1) == 0 and (relaxed := relax_mmff(mol)) is not None:
            found.append(with_positions(mol, relaxed.pos[None]))
    return found


@torch.no_grad()
def moved(generator: ConformerGenerator, mol: Chem.Mol, taus: np.ndarray) -> list[float]:
    """The median RMSD to the pose at each τ, in Å."""
    molecule = molecule_from_mol(mol, conformers=False)
    kept = np.arange(len(molecule.z))
    if generator.two_stages:  # the first draws all heavy atoms
        part = skeleton(molecule)
        molecule, kept = part.molecule, part.kept
    data = molecule.data(conformer=None)
    data.level = next(iter(generator.levels), "")
    batch = Batch.from_data_list([generator.laplacian.weighed(data)] * DRAWS)
    operator = generator.operator(batch)
    context = generator.denoiser.net.encode(batch, operator)
    pose = mol.GetConformer().GetPositions()[kept]
    denoiser = Renoised(generator.denoiser, torch.from_numpy(np.tile(pose - pose.mean(0), (DRAWS, 1))).float())
    source = torch.Generator().manual_seed(0)
    schedule, found = generator.denoiser.sde.schedule, []

    def noise() -> Tensor:
        return torch.randn(len(batch.z), 3, generator=source)

    for tau in taus:
        start, end = schedule.t(torch.tensor([tau, TAU_RANGE[0]], dtype=torch.float32)).tolist()
        grid = time_grid(generator.steps - 1, start, end)
        made = np.zeros((DRAWS, mol.GetNumAtoms(), 3))
        made[:, kept] = generator.sampler.sample(denoiser, operator, grid, noise, context).view(DRAWS, -1, 3).numpy()
        found.append(float(np.median(rmsd_matrix(mol, with_positions(mol, made), 200))))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", default=str(HERE.parent / "datasets" / "zinc_100.smi"))
    parser.add_argument("--molecules", type=int, default=24)
    add_weights(parser)
    args = parser.parse_args()
    torch.set_num_threads(1)
    mols = poses(args.file, 3 if args.quick else args.molecules)
    weights = weights_of(args)
    generator = ConformerGenerator.from_pretrained(weights.path, device="cpu")
    rows = np.array([moved(generator, mol, TAUS) for mol in mols])
    low, middle, high = np.quantile(rows, (0.25, 0.5, 0.75), axis=0)
    print("τ        quartiles of the RMSD to the pose, Å")
    for tau, *quartiles in zip(TAUS, low, middle, high, strict=True):
        print(f"{tau:<8.3g} {quartiles[0]:.3f} {quartiles[1]:.3f} {quartiles[2]:.3f}")
    rotatable = [rdMolDescriptors.CalcNumRotatableBonds(heavy_atoms(mol)) for mol in mols]
    table = {"tau": TAUS.tolist(), "low": low.tolist(), "median": middle.tolist(), "high": high.tolist()}
    facts = {"molecules": len(mols), "draws": DRAWS, "rotatable bonds": rotatable, **table}
    written = {"machine": machine(), "file": Path(args.file).name, "weights": weights.about, **facts}
    (results(args) / "spread.json").write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
