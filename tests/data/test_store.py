import copy
import gc
import os
import pickle
from functools import partial
from itertools import islice
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from pyg_diffusion.chem import molecule_from_mol, read_sdf
from pyg_diffusion.data import Molecule, MoleculeStore, StoreError, write_store
from pyg_diffusion.data.sealed import BLOCK, seal
from pyg_diffusion.data.store_layout import COLUMNS, POINTERS, UNIT, VERSION
from pyg_diffusion.data.store_write import merge_stores

BUNDLED = Path(__file__).parents[2] / "datasets"
PLAIN = ("z", "x", "bond_index", "bond_type", "tetra", "ez", "ez_type")


@pytest.fixture(scope="module")
def molecules() -> list[Molecule]:
    """The bundled ensembles, the conformers of each molecule together."""
    found: dict[bytes, Molecule] = {}
    for record in read_sdf(str(BUNDLED / "qm9_ensembles_20.sdf.gz")):
        molecule = molecule_from_mol(record.mol)
        found.setdefault(molecule.topology(), Molecule(**{**molecule.__dict__, "pos": []})).pos += molecule.pos
    return list(found.values())


@pytest.fixture(scope="module")
def path(molecules, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("store") / "store.h5"
    assert write_store(path, molecules) == (20, 203)
    return path


def test_round_trip(molecules, path):
    store = MoleculeStore(path)
    assert (len(store), store.num_conformers) == (20, 203)
    assert store.sizes().tolist() == [len(m.z) for m in molecules]
    pairs = [[i, k] for i, m in enumerate(molecules) for k in range(len(m.pos))]
    assert store.conformer_index().tolist() == pairs
    for i, want in enumerate(molecules):
        got = store[i]
        for name in PLAIN:
            np.testing.assert_array_equal(getattr(got, name), getattr(want, name))
            assert getattr(got, name).dtype == getattr(want, name).dtype
        assert (got.name, got.smiles, got.topology()) == (want.name, want.smiles, want.topology())
        assert len(got.pos) == len(want.pos) == store.count(i)
        for a, b in zip(got.pos, want.pos, strict=True):
            assert a.dtype == np.float32
            assert np.abs(a - (b - b.mean(0))).max() <= UNIT / 2 + 1e-6  # float32 holds 1e-6 Å at this size


def test_data(path):
    molecule = MoleculeStore(path)[3]
    data = molecule.data(1)
    np.testing.assert_array_equal(data.pos, molecule.pos[1])
    bonds = molecule.bond_index.astype(int).tolist()
    assert data.edge_index.T.tolist() == bonds + [[b, a] for a, b in bonds]
    assert data.edge_attr.tolist() == molecule.bond_type.tolist() * 2
    assert data.num_nodes == len(molecule.z) and not data.is_directed()
    assert "pos" not in molecule.data(None)


def test_only_the_conformers_asked_for_are_decoded(path):
    store = MoleculeStore(path)
    whole = store[3]
    some = store.molecule(3, [4, 1])
    np.testing.assert_array_equal(some.pos, [whole.pos[4], whole.pos[1]])
    assert some.topology() == whole.topology() and store.molecule(3, ()).pos == []
    assert (len(some.levels), len(some.energies), store.levels_of(3)) == (2, 2, whole.levels)
    one, same = store.data(3, 4), whole.data(4)
    assert one.keys() == same.keys()
    for name, value in same.items():
        assert torch.equal(one[name], value) if torch.is_tensor(value) else one[name] == value
    assert "pos" not in store.data(3, None)
    with pytest.raises(IndexError, match=f"of {len(whole.pos)} of molecule 3"):
        store.data(3, len(whole.pos))


def test_blocks_do_not_matter(molecules, path, tmp_path):
    write_store(tmp_path / "small.h5", molecules, block=3)
    a, b = MoleculeStore(path).arrays, MoleculeStore(tmp_path / "small.h5").arrays
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


def test_molecules_without_conformers_bonds_or_text(tmp_path):
    def single(z, count):
        empty = np.zeros((0, 0))
        return Molecule(
            z=np.array([z], np.uint8),
            x=np.zeros((1, 6), np.uint8),
            bond_index=empty.reshape(0, 2).astype(np.uint16),
            bond_type=np.zeros(0, np.uint8),
            tetra=empty.reshape(0, 5).astype(np.uint16),
            ez=empty.reshape(0, 4).astype(np.uint16),
            ez_type=np.zeros(0, np.uint8),
            name="",
            smiles="",
            pos=[np.ones((1, 3))] * count,
        )

    assert write_store(tmp_path / "a.h5", [single(11, 0), single(18, 2), single(26, 0)]) == (3, 2)
    store = MoleculeStore(tmp_path / "a.h5")
    assert [int(m.z[0]) for m in store] == [11, 18, 26]
    assert [len(m.pos) for m in store] == [0, 2, 0]
    assert store.conformer_index().tolist() == [[1, 0], [1, 1]]
    assert store[0].data(None).num_nodes == 1
    assert write_store(tmp_path / "none.h5", []) == (0, 0)
    assert len(MoleculeStore(tmp_path / "none.h5")) == 0 and MoleculeStore(tmp_path / "none.h5").sizes().shape == (0,)


def test_merge_copies_stored_coordinates_exactly(molecules, path, tmp_path):
    reversed_path = tmp_path / "reversed.h5"
    write_store(reversed_path, molecules[::-1])
    parts = {5: MoleculeStore(path), 8: MoleculeStore(reversed_path)}
    assert merge_stores(tmp_path / "merged.h5", parts, [[(5, i), (8, 19 - i)] for i in range(20)]) == (20, 406)
    once, twice = MoleculeStore(path), MoleculeStore(tmp_path / "merged.h5")
    for i in range(20):
        assert twice[i].topology() == once[i].topology() and twice[i].name == once[i].name
        np.testing.assert_array_equal(twice[i].pos, once[i].pos * 2)
    assert all(part._arrays is None for part in parts.values())


def test_index_errors(path):
    for i in (20, -1):
        with pytest.raises(IndexError, match="of 20"):
            MoleculeStore(path)[i]


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 100, 2047, 0.1, 0.5, 0.9, 0.999, -1])
def test_truncated_files_are_refused(path, tmp_path, keep):
    data = path.read_bytes()
    cut = tmp_path / "cut.h5"
    cut.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(StoreError, match=r"cut\.h5.*truncated"):
        MoleculeStore(cut)


def test_any_byte_that_changed_is_noticed_and_older_stores_have_no_checksum(path, tmp_path):
    content, copy = bytearray(path.read_bytes()), tmp_path / "copy.h5"
    for place in [0, 30, *range(BLOCK, len(content), len(content) // 40)]:
        changed = content.copy()
        changed[place] ^= 4
        copy.write_bytes(changed)
        with pytest.raises(StoreError, match=r"copy\.h5: damaged store: truncated, or changed since it was written"):
            MoleculeStore(copy)
    with h5py.File(path) as source, h5py.File(copy, "w") as target:  # as before there were checksums
        for name in source:
            source.copy(name, target)
        target.attrs.update(source.attrs)
    assert copy.read_bytes()[:4] == b"\x89HDF" and MoleculeStore(copy)[3].topology() == MoleculeStore(path)[3].topology()


def test_other_files_are_refused(path, tmp_path):
    text = tmp_path / "text.h5"
    text.write_text("not at all\n" * 100)
    with pytest.raises(StoreError, match=r"text\.h5: not a readable HDF5"):
        MoleculeStore(text)
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["energies"] = np.arange(3)
        file.attrs["format"] = np.arange(3)
    with pytest.raises(StoreError, match=r"foreign\.h5.*no molecule store"):
        MoleculeStore(tmp_path / "foreign.h5")
    with pytest.raises(StoreError, match="no such file"):
        MoleculeStore(tmp_path / "absent.h5")
    with pytest.raises(StoreError, match="no such file"):
        MoleculeStore(tmp_path)


def damaged(path: Path, tmp_path: Path, change) -> Path:
    """A copy that was written so, as far as its checksum tells."""
    copy = tmp_path / "damaged.h5"
    copy.write_bytes(path.read_bytes())
    with h5py.File(copy, "r+") as file:
        change(file)
    with open(copy, "r+b") as stream:
        seal(stream)
    return copy


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.attrs.pop("complete"), "unfinished"),
        (lambda f: f.attrs.modify("complete", False), "unfinished"),
        (lambda f: f.attrs.modify("version", VERSION + 1), f"store version {VERSION + 1} .*, this program reads {VERSION}"),
        (lambda f: f.attrs.pop("version"), "store version None"),
        (lambda f: f.attrs.pop("format"), "no molecule store"),
    ],
)
def test_unfinished_stores_and_other_versions_are_refused(path, tmp_path, change, message):
    with pytest.raises(StoreError, match=message):
        MoleculeStore(damaged(path, tmp_path, change))


EVERY = [*COLUMNS, *(f"molecule/{pointer}_ptr" for pointer in POINTERS)]


@pytest.mark.parametrize(
    "how", ["missing", "a group", "another type", "a row more", "a row less", "an axis more", "a scalar"]
)
def test_every_column_must_be_there_in_type_and_shape(path, tmp_path, how):
    def change(file, name):
        values = file[name][...]
        more = np.ones((1, *values.shape[1:]), values.dtype)
        del file[name]
        if how == "a group":
            file.create_group(name)
        elif how != "missing":
            file[name] = {
                "another type": values.astype(np.float64),
                "a row more": np.concatenate([values, more]),
                "a row less": values[:-1] if len(values) else values[None],
                "an axis more": values[None],
                "a scalar": 3,
            }[how]

    for name in EVERY:
        store = MoleculeStore(damaged(path, tmp_path, partial(change, name=name)))
        with pytest.raises(StoreError, match=rf"damaged\.h5: damaged store: .*{name}"):
            store[0]


@pytest.mark.parametrize(
    ("name", "row", "value", "message"),
    [
        ("atom/z", 3, 119, "atom/z has a value outside of 0..118"),
        ("atom/x", 3, 200, "atom/x has a class that no feature has"),
        ("bond/index", 2, 4000, "bond/index names an atom that its molecule has not"),
        ("bond/type", 2, 0, "bond/type has a value outside of 1..6"),
        ("tetra/index", 0, 65535, "tetra/index names an atom"),
        ("conformer/level", 0, 1, "conformer/level has a value outside of 0..0"),
        ("conformer/energy", 0, np.inf, "conformer/energy is infinite"),
        ("text/name", 1, 0xFF, "text/name is not UTF-8"),
        ("molecule/atom_ptr", 0, 1, "atom_ptr does not cut atom/z"),
        ("molecule/bond_ptr", 3, 10**6, "bond_ptr does not cut bond/index"),
        ("molecule/conformer_ptr", 3, 0, "conformer_ptr does not cut conformer/level"),
    ],
)
def test_values_out_of_range_are_named(path, tmp_path, name, row, value, message):
    def change(file):
        values = file[name][...]
        values[row] = value
        file[name][...] = values

    with pytest.raises(StoreError, match=message):
        MoleculeStore(damaged(path, tmp_path, change)).sizes()


def test_rows_and_texts_that_do_not_match_the_atoms_are_named(path, tmp_path, molecules):
    def moved(name, by):
        def change(file):
            values = file[name][...]
            values[1] += by
            file[name][...] = values

        return change

    with pytest.raises(StoreError, match="one row for each atom of each conformer"):
        MoleculeStore(damaged(path, tmp_path, moved("molecule/pos_ptr", -1)))[0]
    other = copy.deepcopy(molecules[:2])
    other[0].name = "näme"
    write_store(tmp_path / "named.h5", other)
    assert MoleculeStore(tmp_path / "named.h5")[0].name == "näme"
    with pytest.raises(StoreError, match="text/name is cut within a character"):
        MoleculeStore(damaged(tmp_path / "named.h5", tmp_path, moved("molecule/name_ptr", -3)))[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.attrs.modify("molecules", 19),
        lambda f: f.attrs.modify("molecules", -2),
        lambda f: f.attrs.create("molecules", [20, 20]),
        lambda f: f.attrs.create("conformers", "many"),
        lambda f: f.attrs.pop("conformers"),
        lambda f: f.attrs.create("levels", "[]"),
        lambda f: f.attrs.create("levels", "[3]"),
        lambda f: f.attrs.modify("levels", '{"GFN2-xTB": 0}'),
        lambda f: f.attrs.modify("levels", "GFN2-xTB"),
        lambda f: f.attrs.create("levels", 7),
        lambda f: f.attrs.create("complete", [True, False]),
        lambda f: f.attrs.create("version", [VERSION, VERSION]),
    ],
)
def test_attributes_that_do_not_fit_are_refused(path, tmp_path, change):
    with pytest.raises(StoreError, match=r"damaged\.h5: .*(damaged store: |store version \[2 2\])"):
        MoleculeStore(damaged(path, tmp_path, change))[0]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_coordinates_that_a_store_cannot_hold_are_refused(molecules, tmp_path, value):
    molecule = copy.deepcopy(molecules[0])
    molecule.pos[0][1, 2] = value
    with pytest.raises(ValueError, match="not finite, or farther apart than a store can hold"):
        write_store(tmp_path / "far.h5", [molecule])
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file_and_nothing_else(molecules, path, tmp_path):
    target = tmp_path / "store.h5"
    write_store(target, molecules[:2])
    before = target.read_bytes()

    def failing():
        yield molecules[0]
        raise RuntimeError("out of molecules")

    with pytest.raises(RuntimeError, match="out of molecules"):
        write_store(target, failing(), block=1)
    assert target.read_bytes() == before
    assert os.listdir(tmp_path) == ["store.h5"]


def test_compact(tmp_path):
    """A QM9 molecule takes at most 230 bytes with features, stereo, names and coordinates; all 120,000 less than 40 MiB."""
    records = islice(read_sdf(str(BUNDLED / "qm9_3000.sdf.gz")), 1500)
    count, _ = write_store(tmp_path / "qm9.h5", (molecule_from_mol(r.mol) for r in records))
    assert count == 1500
    assert (tmp_path / "qm9.h5").stat().st_size / count < 230


def handles() -> int:
    return sum("store.h5" in os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_link(fd))


def _is_link(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_no_handle_stays_open(path):
    with h5py.File(path, "r"):
        assert handles() >= 1  # the count does see an open file
    store = MoleculeStore(path)
    assert handles() == 0
    store[0], store.sizes()
    assert handles() == 0
    gc.collect()
    with h5py.File(path, "r+"):  # nor does a lock
        pass


def test_a_pickled_store_is_small_and_reads_for_itself(path):
    store = MoleculeStore(path)
    store[0]
    assert len(pickle.dumps(store)) < 500
    np.testing.assert_array_equal(copy.deepcopy(store)[7].pos[0], store[7].pos[0])  # goes through the same state


def _work(store: MoleculeStore, queue) -> None:
    queue.put(float(sum(np.abs(store[i].pos[0]).sum() for i in range(len(store)))))


@pytest.mark.parametrize("loaded", [False, True])
def test_forked_workers_read_the_same(path, loaded):
    store = MoleculeStore(path)
    if loaded:
        store[0]
    context = torch.multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    workers = [context.Process(target=_work, args=(store, queue)) for _ in range(2)]
    for worker in workers:
        worker.start()
    sums = [queue.get() for _ in workers]
    for worker in workers:
        worker.join()
    assert sums == [float(sum(np.abs(store[i].pos[0]).sum() for i in range(len(store))))] * 2


def test_levels_and_energies_stay_with_their_conformers(molecules, tmp_path):
    """Also where stores are merged that number their levels in another order; what was not given reads as unknown."""
    one, two, three = (copy.deepcopy(molecules[0]) for _ in range(3))
    one.levels, one.energies = ["GFN2-xTB"] * len(one.pos), [float(k) for k in range(len(one.pos))]
    two.levels = ["MMFF94s", *["GFN2-xTB"] * (len(two.pos) - 1)]
    write_store(tmp_path / "a.h5", [one])
    write_store(tmp_path / "b.h5", [three, two])
    a, b = MoleculeStore(tmp_path / "a.h5"), MoleculeStore(tmp_path / "b.h5")
    assert (a.levels, b.levels) == (["GFN2-xTB"], ["", "MMFF94s", "GFN2-xTB"])
    assert a[0].levels == one.levels and a[0].energies == one.energies and a[0].data(1).level == "GFN2-xTB"
    assert b[0].levels == [""] * len(one.pos) and np.isnan(b[0].energies).all()
    merge_stores(tmp_path / "c.h5", {0: a, 1: b}, [[(1, 0), (0, 0), (1, 1)]])
    merged = MoleculeStore(tmp_path / "c.h5")[0]
    assert merged.levels == [*b[0].levels, *one.levels, *two.levels]
    np.testing.assert_array_equal(merged.energies, [*b[0].energies, *one.energies, *[np.nan] * len(two.pos)])
    one.levels = one.levels[1:]
    with pytest.raises(ValueError, match="levels or energies"):
        write_store(tmp_path / "d.h5", [one])
