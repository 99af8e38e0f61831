"""For benchmarks that train on stores: ensembles that are held out, options and results that pieces of work share."""

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import core_time, machine
from rdkit import Chem

from pyg_diffusion.chem import molecule_from_mol, read_sdf
from pyg_diffusion.chem.conformers import add_conformers
from pyg_diffusion.chem.stereo import assign_stereo_from_3d
from pyg_diffusion.data import Molecule, MoleculeStore, write_store
from pyg_diffusion.data.schema import ATOM_FEATURES, BOND_TYPES
from pyg_diffusion.metrics import group_records, records_of
from pyg_diffusion.metrics.references import Ensemble
from pyg_diffusion.tasks import recipe_from
from pyg_diffusion.train import RecipeError, train

BUNDLED = Path(__file__).parent.parent / "datasets" / "qm9_ensembles_20.sdf.gz"
KINDS = {"double": Chem.BondType.DOUBLE, "triple": Chem.BondType.TRIPLE, "aromatic": Chem.BondType.AROMATIC}


def mol_of(molecule: Molecule) -> Chem.Mol:
    """A molecule of a store for RDKit, with its conformers, and stereo as they have it."""
    mol = Chem.RWMol()
    charge = list(ATOM_FEATURES).index("charge")
    for z, x in zip(molecule.z.tolist(), molecule.x.tolist(), strict=True):
        atom = Chem.Atom(z)
        atom.SetNoImplicit(True)
        atom.SetFormalCharge(x[charge] - 2)
        mol.AddAtom(atom)
    for (a, b), kind in zip(molecule.bond_index.tolist(), molecule.bond_type.tolist(), strict=True):
        bond = KINDS.get(BOND_TYPES[kind], Chem.BondType.SINGLE)
        mol.AddBond(a, b, bond)
        if bond == Chem.BondType.AROMATIC:
            mol.GetAtomWithIdx(a).SetIsAromatic(True)
            mol.GetAtomWithIdx(b).SetIsAromatic(True)
    Chem.SanitizeMol(mol)
    add_conformers(mol, np.array(molecule.pos, dtype=float))
    assign_stereo_from_3d(mol)
    return mol.GetMol()


def bundled_store(folder: Path) -> Path:
    """The ensembles that come with the package, for a quick look, as a store."""
    ensembles, _ = group_records(read_sdf(BUNDLED))
    write_store(folder / "bundled.h5", [molecule_from_mol(e.mol, e.name) for e in ensembles])
    return folder / "bundled.h5"


def hold_out(
    stores: Sequence[str | Path], count: int, seed: int, folder: Path, least: int = 3
) -> tuple[Path, list[Ensemble]]:
    """A store of all other molecules, written into the folder, and `count` ensembles of at least so many conformers.

    Molecules are told apart by SMILES, so that none is on both sides.
    """
    molecules = [store[k] for store in map(MoleculeStore, stores) for k in range(len(store))]
    eligible = sorted({m.smiles for m in molecules if len(m.pos) >= least})
    chosen = set(np.random.default_rng(seed).permutation(eligible)[:count].tolist())
    first = {m.smiles: m for m in reversed(molecules) if m.smiles in chosen and len(m.pos) >= least}
    records = [r for smiles in sorted(first) for r in records_of(mol_of(first[smiles]), smiles)]
    rest = folder / f"rest_{count}_{seed}.h5"
    if not rest.exists():
        write_store(rest, [m for m in molecules if m.smiles not in chosen])
    return rest, group_records(records)[0]


class Pieces:
    """A script that works in pieces: its options, what it has made so far, and what is held out.

    Args:
        text: of the script.
        name: of its results and its folder below runs/.
        minutes, molecules: defaults.
        compared: further options that a result must share to be gone on with.
    """

    def __init__(self, text: str, name: str, minutes: float, molecules: int, compared: Sequence[str] = ()):
        self.parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
        add = self.parser.add_argument
        add("stores", nargs="*", metavar="STORE.h5", help="with ensembles")
        add("--minutes", type=float, default=minutes, help="of training, each")
        add("--molecules", type=int, default=molecules, help="held out")
        add("--quick", action="store_true", help="see above")
        add("--work", type=Path, default=Path("runs") / name, help="folder of what is under way")
        add("-o", "--output", type=Path, default=Path(__file__).parent / "results" / f"{name}.json")
        self.compared = ("minutes", "molecules", *compared)

    def begin(self, seed: int = 0, least: int = 3) -> tuple[argparse.Namespace, Path, list[Ensemble]]:
        """The options, the store to train on, and the ensembles that are held out of it."""
        self.args = args = self.parser.parse_args()
        if args.quick:
            args.minutes, args.molecules = 0.2, 2
        elif not args.stores:
            self.parser.error("give a store with ensembles, or --quick")
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        core_time()
        args.work.mkdir(parents=True, exist_ok=True)
        store, ensembles = hold_out(args.stores or [bundled_store(args.work)], args.molecules, seed, args.work, least)
        options = {"stores": [Path(path).name for path in args.stores], "references": [e.name for e in ensembles]}
        options |= {key: getattr(args, key) for key in self.compared}
        self.result: dict[str, Any] = {"machine": machine(), "options": options, "rows": {}}
        if args.output.is_file():
            self.result = json.loads(args.output.read_text())
            if self.result["options"] != options:
                self.parser.error(
                    f"{args.output} was made with other options; give the same, or another --output and --work"
                )
        return args, store, ensembles

    @property
    def rows(self) -> dict[str, Any]:
        """What is made so far."""
        return self.result["rows"]

    def keep(self) -> None:
        """Write it."""
        self.args.output.parent.mkdir(parents=True, exist_ok=True)
        self.args.output.write_text(json.dumps(self.result, indent=1, allow_nan=False) + "\n")


def trained(recipe: dict[str, Any], run: Path) -> Path:
    """Weights of a recipe, from where its training had got to.

    Raises:
        SystemExit: it was interrupted.
    """
    done = run / "trained"  # weights are written by a run that is interrupted as well
    if not done.exists():
        try:
            result = train(recipe_from(recipe), run, resume=(run / "last.ckpt").exists(), progress=False)
            if result.interrupted:
                raise SystemExit(f"{run.name}: interrupted after {result.minutes:.1f} minutes; the same command goes on")
        except RecipeError as error:
            if "has ended" not in str(error):  # killed between the last step and the mark
                raise
        done.touch()
    return run / "weights.safetensors"
