import copy
import errno
import gzip
import os
import pickle
import shutil
import warnings
from pathlib import Path

import h5py
import pytest
import torch
from torch_geometric.data import InMemoryDataset
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import Compose

import pyg_diffusion.datasets.sdf as module
from pyg_diffusion.chem.prepare import prepare
from pyg_diffusion.data import MoleculeData, MoleculeStore, StoreError, laplacian_operator
from pyg_diffusion.datasets import SDFDataset
from pyg_diffusion.transforms import AddLaplacianSpectrum

ENSEMBLES = Path(__file__).parents[2] / "datasets" / "qm9_ensembles_20.sdf.gz"


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [b + "$$$$\n" for b in gzip.decompress(ENSEMBLES.read_bytes()).decode().split("$$$$\n") if b.strip()]


@pytest.fixture
def sdf(tmp_path, texts) -> Path:
    """The first 40 conformers."""
    path = tmp_path / "mols.sdf"
    path.write_text("".join(texts[:40]))
    return path


def dataset(tmp_path: Path, path, **kwargs) -> SDFDataset:
    return SDFDataset(tmp_path / "root", path, workers=1, log=False, **kwargs)


def few_atoms(data: MoleculeData) -> bool:
    return data.num_nodes < 20


def add_scale(data: MoleculeData) -> MoleculeData:
    data.scale = torch.tensor([float(data.num_nodes)])
    data.tag = f"tag {data.name}"
    return data


def move(data: MoleculeData) -> MoleculeData:
    data.pos += 100  # in place, as some transforms are
    return data


def add_object(data: MoleculeData) -> MoleculeData:
    data.thing = pickle.PickleError("no tensor")
    return data


def no_reading(monkeypatch) -> None:
    monkeypatch.setattr("pyg_diffusion.chem.prepare.prepare", lambda *a, **k: pytest.fail("the SDF was read again"))


def test_items_are_the_conformers_of_the_store(tmp_path, sdf):
    data = dataset(tmp_path, sdf)
    store = data.store
    assert isinstance(store, MoleculeStore) and len(data) == store.num_conformers == 40
    assert repr(data) == "SDFDataset(40)" and data.num_node_features == 6
    for k, (i, conformer) in enumerate(store.conformer_index()):
        want = store[i].data(conformer)
        assert isinstance(data[k], MoleculeData) and data[k].keys() == want.keys()
        for key, value in want.to_dict().items():
            assert torch.equal(data[k][key], value) if isinstance(value, torch.Tensor) else data[k][key] == value
    assert data.report.conformers == 40 and data.report.skipped == []


def test_a_second_construction_reads_no_sdf(tmp_path, sdf, monkeypatch):
    first = dataset(tmp_path, sdf)
    no_reading(monkeypatch)
    second = dataset(tmp_path, sdf)
    assert len(second) == 40 and torch.equal(first[7].pos, second[7].pos)
    assert second.report == first.report
    sdf.unlink()  # processed is all it needs
    assert torch.equal(dataset(tmp_path, sdf)[7].pos, first[7].pos)
    shutil.move(tmp_path / "root", tmp_path / "moved")
    assert len(SDFDataset(tmp_path / "moved", sdf, log=False)) == 40


def test_changed_or_other_files_are_read(tmp_path, sdf, texts):
    dataset(tmp_path, sdf)
    sdf.write_text("".join(texts[:30]))
    assert len(dataset(tmp_path, sdf)) == 30
    other = tmp_path / "other.sdf.gz"
    other.write_bytes(gzip.compress("".join(texts[40:53]).encode()))
    assert len(dataset(tmp_path, other)) == 13
    both = dataset(tmp_path, [sdf, other])
    assert len(both) == 43 and both.report.records == 43


def test_a_store_of_another_version_is_made_anew(tmp_path, sdf):
    path = dataset(tmp_path, sdf).store.path
    with h5py.File(path, "a") as file:
        file.attrs["version"] = 1
    assert len(dataset(tmp_path, sdf)) == 40
    path.write_bytes(path.read_bytes()[:5000])  # cut off
    assert len(dataset(tmp_path, sdf)) == 40
    path.write_bytes(path.read_bytes()[:5000])
    sdf.unlink()
    with pytest.raises(FileNotFoundError, match=sdf.name):
        dataset(tmp_path, sdf)


def test_force_reload_reads_anew(tmp_path, sdf):
    before = dataset(tmp_path, sdf).store.path.stat().st_mtime_ns
    assert dataset(tmp_path, sdf, force_reload=True).store.path.stat().st_mtime_ns > before


def test_a_store_is_used_in_place(tmp_path, sdf, monkeypatch):
    path = tmp_path / "store.h5"
    prepare([str(sdf)], str(path), workers=1, progress=False)
    no_reading(monkeypatch)
    data = dataset(tmp_path, path, pre_filter=few_atoms, pre_transform=AddLaplacianSpectrum())
    assert data.store.path == path and data.report is None
    assert not (tmp_path / "root" / "processed" / "store.h5").exists()
    assert 0 < len(data) < 40 and "eigenvalues" in data[0]
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(StoreError, match="truncated"):
        dataset(tmp_path, path)


def test_raw_folder_is_the_default(tmp_path, sdf, texts):
    with pytest.raises(FileNotFoundError, match=r"root.raw"):
        dataset(tmp_path, None)
    raw = tmp_path / "root" / "raw"
    shutil.copy(sdf, raw / "a.sdf")
    (raw / "b.sdf.gz").write_bytes(gzip.compress("".join(texts[40:45]).encode()))
    (raw / "README").write_text("no molecules")
    data = dataset(tmp_path, None)
    assert data.raw_file_names == ["a.sdf", "b.sdf.gz"] and len(data) == 45


@pytest.mark.parametrize("name", ["absent.sdf", "absent.h5"])
def test_an_absent_file_is_named(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=name):
        dataset(tmp_path, tmp_path / name)


def test_pre_transform_is_applied_once_and_kept(tmp_path, sdf, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 16)  # several blocks
    transform = Compose([AddLaplacianSpectrum(), add_scale])
    data = dataset(tmp_path, sdf, pre_transform=transform)
    monkeypatch.setattr(AddLaplacianSpectrum, "forward", lambda self, d: pytest.fail("transformed again"))
    data = dataset(tmp_path, sdf, pre_transform=transform)
    plain = SDFDataset(tmp_path / "plain", sdf, workers=1, log=False)
    monkeypatch.undo()
    monkeypatch.setattr(module, "BLOCK", 16)
    for k in range(40):
        want = transform(plain[k])
        assert isinstance(data[k], MoleculeData) and set(data[k].keys()) == set(want.keys())
        assert data[k].num_nodes == want.num_nodes
        for key, value in want.to_dict().items():
            assert torch.equal(data[k][key], value) if isinstance(value, torch.Tensor) else data[k][key] == value


def test_items_load_without_running_code(tmp_path, sdf):
    data = dataset(tmp_path, sdf, pre_transform=AddLaplacianSpectrum())
    path = Path(data.processed_dir, "items.pt")
    assert torch.load(path, weights_only=True)
    with pytest.raises(TypeError, match="pre_transform may add tensors"):
        dataset(tmp_path, sdf, pre_transform=add_object)
    assert not path.exists()


def test_changed_functions_process_anew_without_reading_the_sdf(tmp_path, sdf, monkeypatch):
    dataset(tmp_path, sdf)
    no_reading(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dataset(tmp_path, sdf, pre_transform=AddLaplacianSpectrum())[0].eigenvalues.dtype == torch.float32
        assert (
            dataset(tmp_path, sdf, pre_transform=AddLaplacianSpectrum(dtype="float64"))[0].eigenvalues.dtype == torch.float64
        )
        few = dataset(tmp_path, sdf, pre_filter=few_atoms)
    assert "eigenvalues" not in few[0]
    assert 0 < len(few) < 40 and all(few_atoms(d) for d in few)
    assert len(few.store) == len(dataset(tmp_path, sdf).store) and len(dataset(tmp_path, sdf)) == 40


def test_an_interrupted_processing_is_done_again(tmp_path, sdf, monkeypatch):
    dataset(tmp_path, sdf)

    def interrupted(data):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dataset(tmp_path, sdf, pre_transform=interrupted, pre_filter=few_atoms)  # the choice is written by now
    no_reading(monkeypatch)
    assert len(dataset(tmp_path, sdf)) == 40
    assert "eigenvalues" in dataset(tmp_path, sdf, pre_transform=AddLaplacianSpectrum())[39]


@pytest.mark.parametrize("pre_transform", [None, AddLaplacianSpectrum()])
def test_a_transform_that_works_in_place_does_not_reach_the_next_epoch(tmp_path, sdf, pre_transform):
    data = dataset(tmp_path, sdf, transform=move, pre_transform=pre_transform)
    first = data[5].pos.clone()
    assert torch.equal(data[5].pos, first) and first.mean() > 90


@pytest.mark.parametrize("pre_transform", [None, AddLaplacianSpectrum()])
def test_loader_workers_give_the_same_batches(tmp_path, sdf, pre_transform):
    data = dataset(tmp_path, sdf, pre_transform=pre_transform)
    plain = list(DataLoader(data, batch_size=16))
    parallel = list(DataLoader(data, batch_size=16, num_workers=2))
    assert [b.num_graphs for b in plain] == [16, 16, 8]
    for a, b in zip(plain, parallel, strict=True):
        assert torch.equal(a.pos, b.pos) and torch.equal(a.edge_index, b.edge_index) and a.name == b.name
        assert laplacian_operator(b).num_graphs == b.num_graphs
        if pre_transform is not None:
            assert torch.equal(a.eigenvectors, b.eigenvectors)


@pytest.mark.parametrize("pre_transform", [None, AddLaplacianSpectrum()])
def test_pickles_small(tmp_path, sdf, pre_transform):
    data = dataset(tmp_path, sdf, pre_transform=pre_transform)
    before = data[3]
    assert len(pickle.dumps(data)) < 5000
    assert torch.equal(copy.deepcopy(data)[3].pos, before.pos)  # goes through the same state


def test_subsets_and_copies(tmp_path, sdf):
    data = dataset(tmp_path, sdf, pre_transform=AddLaplacianSpectrum())
    subset = data[10:20]
    assert len(subset) == 10 and torch.equal(subset[0].pos, data[10].pos)
    assert len(data.shuffle()) == 40
    assert not isinstance(data, InMemoryDataset)


def test_skipped_records_are_warned_about_and_kept(tmp_path, texts):
    path = tmp_path / "some.sdf"
    path.write_text("".join(["broken\n" + t.split("\n", 1)[1].replace("V2000", "V9999") for t in texts[:7]] + texts[7:20]))
    with pytest.warns(
        UserWarning, match=r"7 of 20 records skipped: .*record 1 \(broken\): RDKit cannot parse.*and 2 more in"
    ):
        data = dataset(tmp_path, path)
    assert len(data) == 13
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = dataset(tmp_path, path)  # said once
    assert [s.record for s in data.report.skipped] == [1, 2, 3, 4, 5, 6, 7]
    lines = Path(data.processed_dir, "skipped.txt").read_text().splitlines()
    assert len(lines) == 7 and lines[6] == str(data.report.skipped[6])


def test_no_temporary_files_stay(tmp_path, sdf):
    data = dataset(tmp_path, sdf)
    assert sorted(os.listdir(data.processed_dir)) == sorted(
        [*data.processed_file_names, "pre_filter.pt", "pre_transform.pt"]
    )


def test_a_root_that_cannot_be_written_is_said_in_a_sentence(tmp_path, sdf, monkeypatch):
    """Read-only, as the data of a cluster: refused with what to do; what was processed there before is read."""
    made = dataset(tmp_path, sdf)
    makedirs = os.makedirs

    def read_only(path, *args, **kwargs):
        if os.path.isdir(path):
            return makedirs(path, *args, **kwargs)
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(os, "makedirs", read_only)
    again = dataset(tmp_path, sdf)
    assert len(again) == len(made) == 40 and torch.equal(again[7].pos, made[7].pos)
    with pytest.raises(StoreError, match=r"new/processed: cannot be written \(.*Read-only.*give root= a folder of your own"):
        SDFDataset(tmp_path / "new", sdf, workers=1, log=False)
    with pytest.raises(FileNotFoundError, match=r"none\.sdf: no such file"):
        SDFDataset(tmp_path / "new", tmp_path / "none.sdf", log=False)
    monkeypatch.undo()
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file/sets/processed: cannot be written"):
        SDFDataset(tmp_path / "file" / "sets", sdf, workers=1, log=False)
