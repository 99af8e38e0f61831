"""Regularizers by name, the package's own and others."""

import subprocess
import sys

import pytest
import torch
from torch_geometric.data import Batch

from pyg_diffusion import regularize
from pyg_diffusion.data import grid_graph, laplacian_operator
from pyg_diffusion.terms import TERMS, bind, regularizer, terms_of

GRAPH_TERMS = ("smoothness", "neighbour_alignment")
MOLECULE_TERMS = ("bonds", "angles", "clashes")
TARGET_TERMS = ("energy", "alignment", "reference")


def test_names_go_by_what_the_data_have():
    assert terms_of() == GRAPH_TERMS
    assert terms_of("z", "x") == (*GRAPH_TERMS, *MOLECULE_TERMS)
    assert terms_of("target") == (*GRAPH_TERMS, *TARGET_TERMS)
    code = "import sys; sys.modules['torch'] = None; from pyg_diffusion.terms import TERMS; print(*TERMS)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(TERMS)


def test_bound_they_are_what_regularize_says():
    data = grid_graph((3, 4))
    operator = laplacian_operator(data, dtype=torch.float64)
    x, target = torch.randn(2, 12, 3, dtype=torch.float64)
    every = {name: bind({name: 1.0}, operator, data, target)(x) for name in terms_of("target")}
    wanted = {
        "smoothness": regularize.smoothness(operator, x),
        "neighbour_alignment": regularize.neighbour_alignment(operator, x),
        "energy": regularize.energy(operator, x, target),
        "alignment": regularize.direction_alignment(operator, x, target),
        "reference": regularize.energy(operator, x, target),
    }
    assert every.keys() == wanted.keys()
    for name, value in wanted.items():
        assert torch.equal(every[name], value), name
    both = bind({"energy": 0.5, "smoothness": 2.0}, operator, data, target)(x)
    torch.testing.assert_close(both, 0.5 * wanted["energy"] + 2 * wanted["smoothness"])


def test_of_molecules_a_bond_out_of_bounds_pays_half_its_squared_excess(molecules):
    batch = Batch.from_data_list([m.data(0) for m in molecules[:3]])
    operator = laplacian_operator(batch, dtype=torch.float64)
    pos = batch.pos.double()
    start, end = batch.edge_index[:, 0].tolist()
    other = batch.batch != batch.batch[end]
    for name in ("bonds", "angles", "clashes"):
        term = bind({name: 1.0}, operator, batch)
        moved = pos.clone()
        moved[end] += 50.0 * (pos[end] - pos[start]) / (pos[end] - pos[start]).norm()
        changed = term(moved) - term(pos)
        assert (changed[0] > 100) == (name != "clashes")
        assert other.any() and not changed[1:].any()  # of the other molecules nothing
    length = regularize.bond_bounds(
        batch.edge_index, torch.full((batch.num_edges,), 1.0, dtype=torch.float64), 0.0
    )  # what the bound term builds, with lengths of our own
    stretched = torch.zeros_like(pos)
    assert float(regularize.violation(operator, stretched, length).sum()) == pytest.approx(0.5 * batch.num_edges / 2)


def test_the_reference_is_what_the_data_name_and_else_the_target(molecules):
    batch = Batch.from_data_list([m.data(0) for m in molecules[:3]])
    operator = laplacian_operator(batch, dtype=torch.float64)
    target, other = batch.pos.double(), torch.randn(batch.num_nodes, 3, dtype=torch.float64)
    masses = torch.tensor(regularize.MASSES, dtype=torch.float64)[batch.z - 1]
    by_mass = regularize.reference_energy(operator, other, target, masses)
    torch.testing.assert_close(bind({"reference": 1.0}, operator, batch, target)(other), by_mass)
    batch.node_weight = torch.full((batch.num_nodes,), 2.0)
    bound = bind({"reference": 1.0}, operator, batch, target)
    torch.testing.assert_close(bound(other), 2 * regularize.energy(operator, other, target))
    batch.reference = other
    turn = torch.tensor([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=torch.float64)
    assert float(bind({"reference": 1.0}, operator, batch, target)(other @ turn + 3).max()) < 1e-9


def test_one_from_outside_is_a_term_like_the_own():
    data = grid_graph((2, 3))
    data.wanted = torch.arange(6.0)[:, None]
    operator = laplacian_operator(data)

    @regularizer("wanted")
    def far(operator, data, target):
        return lambda x: operator.graph_sum((x - data.wanted).square()).sum(1)

    TERMS.add("far", far)
    try:
        assert bind({"far": 2.0}, operator, data)(torch.zeros(6, 1)).tolist() == [2 * 55.0]
        assert "far" in terms_of("wanted") and "far" not in terms_of()
        with pytest.raises(ValueError, match="no term 'far' for this data; there are smoothness, neighbour"):
            bind({"far": 1.0}, operator, grid_graph((2, 3)))
    finally:
        TERMS.remove("far")
    with pytest.raises(ValueError, match="no term 'far'"):
        bind({"far": 1.0}, operator, data)
