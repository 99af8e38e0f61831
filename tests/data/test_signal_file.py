"""Signals from files and data sets: every form gives the same, and what cannot be used is named with the cure."""

import h5py
import numpy as np
import pytest
import torch
from torch_geometric.data import Batch, Data, InMemoryDataset

from pyg_diffusion.data.signal_file import arrays_of, facts_in, holds_signals, read_signals, write_signals
from pyg_diffusion.data.signals import Names, SignalError, from_items

EDGES = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
NAMES = Names(scalars=("heat",))


def one() -> dict[str, np.ndarray]:
    """Five signals of two channels on a path of three nodes."""
    x = np.arange(30.0).reshape(5, 3, 2)
    weight = np.array([1.0, 1.0, 0.5, 0.5])
    return {"x": x, "edge_index": EDGES.numpy(), "edge_weight": weight, "pos": np.eye(3)[:, :2], "heat": np.arange(5)}


def many() -> list[Data]:
    """Paths of 2 to 5 nodes, the first of them twice."""
    items = []
    for k, n in enumerate((2, 3, 4, 5, 2)):
        line = torch.arange(n - 1)
        index = torch.cat([torch.stack([line, line + 1]), torch.stack([line + 1, line])], 1)
        items.append(Data(x=torch.full((n, 1), float(k)), edge_index=index, heat=torch.tensor([k + 0.5])))
    return items


def test_one_graph_is_read_alike_from_all_files(tmp_path):
    arrays = one()
    np.savez(tmp_path / "a.npz", **arrays)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, value in arrays.items():
            file[name] = value
    torch.save({name: torch.from_numpy(value) for name, value in arrays.items()}, tmp_path / "a.pt")
    for name in ("a.npz", "a.h5", "a.pt"):
        found = read_signals(tmp_path / name, NAMES)
        assert len(found) == 5 and len(found.graphs) == 1 and found.channels == 2 and found.known is None
        assert found.stacked()[3, 2].tolist() == [22.0, 23.0] and found.scalars["heat"].tolist() == [0, 1, 2, 3, 4]
        assert found.graphs[0].edge_weight.tolist() == [1.0, 1.0, 0.5, 0.5] and found.graphs[0].pos.shape == (3, 2)
        assert found.take([4, 0]).stacked()[0, 0].tolist() == [24.0, 25.0]
    assert read_signals(tmp_path / "a.npz", Names(weight="")).graphs[0].get("edge_weight") is None
    assert holds_signals(tmp_path / "a.h5") and not facts_in(tmp_path / "a.h5")


def test_many_graphs_are_read_alike_from_all_files(tmp_path):
    items = many()
    torch.save(items, tmp_path / "list.pt")
    InMemoryDataset.save(items, tmp_path / "set.pt")
    batch = Batch.from_data_list(items)
    shuffled = torch.randperm(batch.num_edges, generator=torch.Generator().manual_seed(0))
    arrays = {"x": batch.x, "edge_index": batch.edge_index[:, shuffled], "ptr": batch.ptr, "heat": batch.heat}
    np.savez(tmp_path / "batch.npz", **{name: value.numpy() for name, value in arrays.items()})
    for name in ("list.pt", "set.pt", "batch.npz"):
        found = read_signals(tmp_path / name, NAMES)
        assert found.sizes().tolist() == [2, 3, 4, 5, 2]
        assert [float(x.mean()) for x in found.x] == [0, 1, 2, 3, 4] and found.scalars["heat"].tolist()[3] == 3.5
        edges = {tuple(edge) for edge in found.data(2).edge_index.T.tolist()}
        assert edges == {(0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2)}
    assert len(read_signals(tmp_path / "list.pt", NAMES).graphs) == 4  # the two equal ones are one
    assert len(from_items(items, Names()).take([0, 4]).graphs) == 1


@pytest.mark.parametrize("make", [lambda: read_like(one()), lambda: from_items(many(), NAMES)], ids=["one", "many"])
def test_what_is_written_is_read_again(make, tmp_path):
    found = make()
    write_signals(tmp_path / "a.h5", found, {"kind": "signals", "n": 3}, {"spread": np.ones(2)})
    again = read_signals(tmp_path / "a.h5", Names(scalars=tuple(found.scalars)))
    assert facts_in(tmp_path / "a.h5") == {"kind": "signals", "n": 3}
    for name, value in arrays_of(found).items():
        np.testing.assert_array_equal(arrays_of(again)[name], value)
    image = bytearray((tmp_path / "a.h5").read_bytes())
    image[len(image) // 2] ^= 1
    (tmp_path / "a.h5").write_bytes(bytes(image))
    with pytest.raises(SignalError, match="damaged file: truncated, or changed"):
        read_signals(tmp_path / "a.h5")


def read_like(arrays):
    from pyg_diffusion.data.signal_file import from_arrays

    return from_arrays({name: torch.from_numpy(np.asarray(value)) for name, value in arrays.items()}, NAMES)


def test_masks_of_nodes_and_of_values():
    arrays = one()
    arrays["x"][2, 1] = np.nan
    with pytest.raises(SignalError, match=r"graph 0: x is nan at signal 2, node 1, channel 0; name a mask of known values"):
        read_like(arrays)
    arrays["seen"] = ~np.isnan(arrays["x"]).any(-1)
    names = Names(mask="seen")
    from pyg_diffusion.data.signal_file import from_arrays

    found = from_arrays({name: torch.from_numpy(value) for name, value in arrays.items()}, names)
    assert found.known is not None and int((~found.known[2]).sum()) == 2 and found.x[2][1].tolist() == [0, 0]
    gaps = from_arrays({name: torch.from_numpy(value) for name, value in arrays.items()}, Names(gaps=True))
    assert gaps.known is not None and bool((torch.stack(list(gaps.known)) == torch.stack(list(found.known))).all())
    arrays["seen"][2] = True
    with pytest.raises(SignalError, match=r"x is nan at signal 2, node 1, channel 0$"):
        from_arrays({name: torch.from_numpy(value) for name, value in arrays.items()}, names)


def spoilt(k: int, **values) -> list[Data]:
    items = many()
    for name, value in values.items():
        items[k][name] = value
    return items


@pytest.mark.parametrize(
    ("items", "said"),
    [
        (spoilt(3, x=torch.ones(5, 2)), "graph 3: x has 2 channels, and 1 in graph 0"),
        (spoilt(2, x=torch.full((4, 1), torch.inf)), "graph 2: x is inf at node 0, channel 0"),
        (spoilt(1, x=torch.full((3, 1), 1e300, dtype=torch.float64)), "graph 1: x is inf at node 0"),
        (spoilt(1, edge_index=torch.tensor([[0, 1], [1, 2]])), r"graph 1: edge 0-1 differs .*to_undirected does"),
        (spoilt(3, edge_index=torch.tensor([[0, 9], [9, 0]])), "graph 3: edge_index names node 9, but the nodes are 0..4"),
        (spoilt(0, edge_index=None), "graph 0: the data has no edge_index"),
        (spoilt(4, heat=torch.ones(2)), r"graph 4: heat must be one number, got \[2\]"),
        (spoilt(4, heat=None), "graph 4: there is no 'heat'"),
        (spoilt(2, x=torch.ones(0, 1)), r"graph 2: x is empty, \[0, 1\]"),
        (spoilt(2, x=torch.ones(4, 1, 1)), r"graph 2: x must be \[N, C\]"),
        (spoilt(2, x="high"), "graph 2: x is a str, no tensor"),
        (spoilt(1, edge_weight=torch.ones(4)), "graph 0: no weights of edges, which others have"),
        ([{"x": 1}], "graph 0: a torch_geometric Data is needed, got dict"),
        ([], "there are no signals"),
    ],
)
def test_what_cannot_be_used_is_named(items, said):
    with pytest.raises(SignalError, match=said):
        from_items(items, NAMES)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"x": np.ones((5, 3))}, r"x must be \[signals, nodes, channels\], got \[5, 3\]"),
        ({"x": None}, "no 'x'; there are edge_index"),
        ({"edge_index": np.ones((4, 2), int)}, r"edge_index must be \[2, edges\]"),
        ({"edge_index": np.ones((2, 4))}, "edge_index must be integers"),
        ({"edge_weight": -np.ones(4)}, "graph 0: edge 0-1 has weight -1.0"),
        ({"heat": np.ones(4)}, r"heat must be \[5\]"),
        ({"pos": np.ones((2, 2))}, r"graph 0: pos must be \[3, d\]"),
        ({"x": np.array(["a"])}, "x should be numbers"),
        ({"ptr": np.array([0, 3])}, "rows of x"),
        ({"x": np.ones((3, 1)), "ptr": np.array([0, 2, 2, 3])}, "graph 1 is empty"),
        ({"x": np.ones((3, 1)), "ptr": np.array([0, 1, 3])}, "graph 0: an edge leads to graph 1"),
    ],
)
def test_files_that_cannot_be_used(change, said, tmp_path):
    arrays = one() | change
    np.savez(tmp_path / "a.npz", **{name: value for name, value in arrays.items() if value is not None})
    with pytest.raises(SignalError, match=said):
        read_signals(tmp_path / "a.npz", NAMES)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("1,2")
    for name in ("a.npz", "a.h5", "a.pt"):
        (tmp_path / name).write_bytes(b"no such thing")
    torch.save([Data(x=np.float64(1.0))], tmp_path / "numpy.pt")
    said = {"a.csv": "are read from", "none.npz": "no such file", "a.npz": "not a .npz file", "a.h5": "not an HDF5 file"}
    said |= {"a.pt": "weights_only=True", "numpy.pt": r"\(Unsupported .*numpy"}
    for name, text in said.items():
        with pytest.raises(SignalError, match=text):
            read_signals(tmp_path / name)
