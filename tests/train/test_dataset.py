"""Molecules of a PyG data set in the place of a store: PyG's own QM9 on raw files of ten molecules, and `SDFDataset`."""

import os

import numpy as np
import pytest
import torch
from rdkit import Chem
from torch_geometric.data import Batch, Data
from torch_geometric.datasets import QM9
from torch_geometric.transforms import BaseTransform

from pyg_diffusion.chem import molecule_from_mol, read_sdf
from pyg_diffusion.chem.pyg_form import molecule_from_pyg
from pyg_diffusion.chem.stereo import signed_volume
from pyg_diffusion.data import MoleculeStore
from pyg_diffusion.data.molecule import Molecule
from pyg_diffusion.spectral import DenseOperator
from pyg_diffusion.tasks import recipe_from
from pyg_diffusion.tasks.molecules.data import ConformerDataModule
from pyg_diffusion.train import RecipeError, train
from pyg_diffusion.train.datamodule import Draws
from tests.conftest import SMILES, embed

KEPT = [s for s in SMILES if "." not in s]  # QM9's elements


class Moved(BaseTransform):
    """Moves a molecule by 5 Å."""

    def forward(self, data: Data) -> Data:
        data.pos = data.pos + 5
        return data


def small(data: Data) -> bool:
    return data.num_nodes < 15


def broken(root: str, what: str = "pos") -> list[Data]:
    """Methane and water, both without something."""
    items = []
    for smiles in ("C", "O"):
        mol = embed(smiles)
        bonds = np.array([(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds()]).T
        edges = torch.from_numpy(np.concatenate([bonds, bonds[::-1]], 1))
        item = Data(
            z=torch.tensor([a.GetAtomicNum() for a in mol.GetAtoms()]),
            pos=torch.from_numpy(mol.GetConformer().GetPositions()),
            edge_index=edges,
            edge_attr=torch.eye(4)[torch.zeros(edges.size(1), dtype=torch.long)],
        )
        if what == "direction":
            item.edge_index = edges[:, : edges.size(1) // 2]
            item.edge_attr = item.edge_attr[: edges.size(1) // 2]
        elif what == "hydrogens":
            item.edge_index, item.edge_attr = edges[:, [0, edges.size(1) // 2]], item.edge_attr[:2]
            item.z, item.pos = item.z[:2], item.pos[:2]
        elif what != "nothing":
            del item[what]
        items.append(item)
    return items


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root whose raw files are those of QM9, but for the molecules in them."""
    root = tmp_path_factory.mktemp("qm9")
    os.makedirs(root / "raw")
    with Chem.SDWriter(str(root / "raw/gdb9.sdf")) as writer:
        for smiles in KEPT:
            writer.write(embed(smiles))
        for seed in (8, 9):  # two more conformers of the first
            writer.write(embed(KEPT[0], seed=seed))
    rows = [",".join(["gdb", *["1.0"] * 19])] * (len(KEPT) + 2)
    (root / "raw/gdb9.sdf.csv").write_text("\n".join(["header", *rows]) + "\n")
    (root / "raw/uncharacterized.txt").write_text("\n" * 10)
    return root


def section(root, **more) -> dict:
    name = "torch_geometric.datasets:QM9"
    return {"dataset": name, "root": str(root), "batch_size": 4, "val_fraction": 0.2, **more}


def recipe(root, **more):
    return recipe_from(
        {
            "data": section(root, **more),
            "model": {"width": 16, "depths": [1, 1], "heads": 2, "pair_width": 8},
            "train": {"max_steps": 2, "threads": 1, "accelerator": "cpu"},
        }
    )


def test_a_molecule_of_qm9_is_that_of_its_sdf(root):
    expected = [molecule_from_mol(record.mol) for record in read_sdf(root / "raw/gdb9.sdf")]
    for item, known in zip(QM9(str(root)), expected, strict=True):
        found = molecule_from_pyg(item)
        assert (found.smiles, found.z.tolist()) == (known.smiles, known.z.tolist())
        assert np.array_equal(found.x, known.x)
        assert np.array_equal(found.tetra[:, 0], known.tetra[:, 0]) and np.array_equal(found.ez_type, known.ez_type)
        assert (signed_volume(found.tetra, known.pos[0]) > 0).all()  # the neighbours' order may differ
        typed = [
            {(*sorted(pair), kind) for pair, kind in zip(m.bond_index.tolist(), m.bond_type.tolist(), strict=True)}
            for m in (found, known)
        ]
        assert typed[0] == typed[1]


def test_data_and_back_is_the_same_molecule(molecules):
    for molecule in molecules:
        again = Molecule.of_data(molecule.data(1))
        assert again.smiles == molecule.smiles and np.array_equal(again.x, molecule.x)
        assert np.array_equal(again.tetra, molecule.tetra) and np.array_equal(again.ez, molecule.ez)
        assert np.allclose(again.pos[0], molecule.pos[1])
        order = np.argsort([tuple(sorted(pair)) for pair in molecule.bond_index.tolist()], axis=0)
        assert len(order) == len(again.bond_index)


def test_training_on_a_data_set_with_its_transforms(root, tmp_path):
    plain = recipe(root)
    data = plain.task.datamodule(plain)
    assert isinstance(data, ConformerDataModule)
    assert len(data.train) + len(data.val) == len(KEPT) + 2
    assert sorted(len(m.pos) for m in data.stores[0]) == [1] * (len(KEPT) - 1) + [3]
    moved = recipe(root, options={"transform": f"{__name__}:Moved"})
    for one, other in zip(data.train, moved.task.datamodule(moved).train, strict=True):
        assert torch.allclose(one.pos + 5, other.pos, atol=1e-5) and one.smiles == other.smiles
    result = train(moved, tmp_path / "run", progress=False)
    assert result.steps == 2 and np.isfinite(result.val_loss)
    few = recipe(root, options={"transform": [f"{__name__}:Moved", f"{__name__}:Moved"]})
    assert torch.allclose(few.task.datamodule(few).train[0].pos, data.train[0].pos + 10, atol=1e-5)


def test_a_pre_filter_and_the_kept_store(root, tmp_path):
    filtered = recipe(tmp_path, options={"pre_filter": f"{__name__}:small"})
    (tmp_path / "raw").symlink_to(root / "raw")
    data = filtered.task.datamodule(filtered)
    sizes = data.stores[0].sizes()
    assert len(sizes) and sizes.max() < 15
    (kept,) = (tmp_path / "pyg_diffusion").glob("*.h5")
    before = kept.stat().st_mtime_ns
    again = filtered.task.datamodule(filtered)
    assert kept.stat().st_mtime_ns == before and len(again.train) == len(data.train)
    assert len(MoleculeStore(kept)) == len(sizes)


def test_this_packages_data_set(store_path, tmp_path):
    asked = recipe(tmp_path, dataset="pyg_diffusion:SDFDataset", options={"path": str(store_path)})
    data, store = asked.task.datamodule(asked), MoleculeStore(store_path)
    assert data.stores[0].smiles() == store.smiles()
    assert np.allclose(data.stores[0].data(3, 2).pos, store.data(3, 2).pos, atol=1e-4)
    weighted = {"path": str(store_path), "transform": "pyg_diffusion:AddBondWeights"}
    asked = recipe(tmp_path, dataset="pyg_diffusion:SDFDataset", options=weighted)
    with pytest.raises(RecipeError, match="has another edge_weight than molecules to be sampled"):
        asked.task.datamodule(asked).train[0]


def test_a_spectrum_that_a_transform_wrote_is_trained_with(store_path, tmp_path, monkeypatch):
    """Of the weights that the recipe names: nothing is decomposed; of others it is refused."""
    options = {
        "path": str(store_path), "pre_transform": ["pyg_diffusion:AddBondWeights", "pyg_diffusion:AddLaplacianSpectrum"],
    }  # fmt: skip
    asked = recipe(tmp_path, dataset="pyg_diffusion:SDFDataset", options=options, weight="order")
    module = asked.task.datamodule(asked)
    batch = Batch.from_data_list([module.train[0], module.train[1]])
    monkeypatch.setattr(DenseOperator, "from_laplacian", None)
    operator, _, told = module.present(batch, Draws(torch.Generator(), 2, batch.num_nodes))
    monkeypatch.undo()
    fresh = DenseOperator.from_edges(told.edge_index, told.num_nodes, told.edge_weight, told.batch)
    assert told.edge_weight.max() > 1
    torch.testing.assert_close(operator.eigenvalues.double(), fresh.eigenvalues, atol=1e-5, rtol=0)
    del batch.edge_weight
    with pytest.raises(ValueError, match="not those of the Laplacian asked for"):
        module.present(batch, Draws(torch.Generator(), 2, batch.num_nodes))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("pos", r"item 0: there is no pos \[N, 3\]; a conformer has z, pos, edge_index, edge_attr, as in PyG's QM9"),
        ("edge_attr", r"item 0: there is no edge_attr \[E, 4\]"),
        ("direction", "every bond in both directions"),
        ("hydrogens", "hydrogens, or charges, are missing: 3 valences are free"),
    ],
)
def test_what_is_missing_is_said(tmp_path, what, said):
    asked = recipe(tmp_path, dataset=f"{__name__}:broken", options={"what": what})
    with pytest.raises(RecipeError, match=said):
        asked.task.datamodule(asked)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"dataset": "QM9"}, "data.dataset: QM9: must be module:Name, got 'QM9'"),
        ({"dataset": "nowhere:QM9"}, "No module named 'nowhere'"),
        ({"options": {"transform": 3}}, "transform is given as module:Name, got 3"),
        ({"options": {"colour": 3}}, "unexpected keyword argument 'colour'"),
    ],
)
def test_a_data_set_that_cannot_be_made(root, more, said):
    asked = recipe(root, **more)
    with pytest.raises(RecipeError, match=said):
        asked.task.datamodule(asked)


def test_sections_that_do_not_go_together(root):
    for more, said in (
        ({"store": ["x.h5"]}, "takes the place of stores"),
        ({"hydrogens": "second"}, "shows whole molecules"),
        ({"dataset": "", "options": {"a": 1}}, "are for data.dataset"),
    ):
        with pytest.raises(RecipeError, match=said):
            recipe(root, **more)


def test_items_left_out_are_said(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(f"{__name__}.broken", lambda root: [*_whole(), Data()])
    asked = recipe(tmp_path, dataset=f"{__name__}:broken")
    assert len(asked.task.datamodule(asked).stores[0]) == 2
    assert "1 of 3 items left out; item 2: there is no z [N]" in capsys.readouterr().err


def _whole() -> list[Data]:
    return _BROKEN("", "nothing")


_BROKEN = broken
