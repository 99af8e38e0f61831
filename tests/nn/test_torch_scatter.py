"""With torch-scatter and without it: the same results and gradients (`make scatter` compiles it and runs this)."""

import importlib
import sys
from pathlib import Path

import pytest
import torch
from conftest import embed
from torch_geometric.data import Batch, Data

from pyg_diffusion import ConformerGenerator
from pyg_diffusion.chem import molecule_from_mol
from pyg_diffusion.chem.skeleton import whole_data
from pyg_diffusion.data import grid_graph
from pyg_diffusion.nn import GatedConv, HydrogenNet, LaplacianAttentionConv, LaplacianConv, VectorConv
from pyg_diffusion.nn.hydrogen_net import DRAWS
from pyg_diffusion.testing import random_graph

torch_scatter = pytest.importorskip("torch_scatter")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def scatter(monkeypatch):
    """benchmarks/scatter.py as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("scatter")
    for name in ("scatter", "layers", "machine"):
        sys.modules.pop(name, None)


@pytest.fixture
def reached(monkeypatch):
    """Names of torch-scatter's functions that are called."""
    names: list[str] = []

    def counted(name, function):
        return lambda *args, **kwargs: (names.append(name), function(*args, **kwargs))[1]

    for name in ("scatter", "segment_csr"):
        monkeypatch.setattr(torch_scatter, name, counted(name, getattr(torch_scatter, name)))
    return names


def same_in_every_way(scatter, module, call, x, bound):
    outcomes = []
    for name in scatter.WAYS:
        with scatter.way(name):
            torch.manual_seed(0)
            outcomes.append(scatter.training_pass(module, call, x))
    assert len(outcomes[0]) > 1 and outcomes[0][1].abs().max() > 0  # a gradient of the input, and it is one
    for other in outcomes[1:]:
        assert scatter.difference(other, outcomes[0]) < bound


def test_layers_and_their_gradients(scatter, reached):
    """Every row of the benchmark's table, PyG's layers among them; on a CPU PyG calls torch-scatter for none of them."""
    layers = sys.modules["layers"].layers
    graphs = [
        grid_graph((4, 5), "cycle"),
        grid_graph((3, 3), "path"),
        Data(edge_index=torch.empty(2, 0).long(), num_nodes=1),
    ]
    batch = Batch.from_data_list([Data(edge_index=g.edge_index, num_nodes=g.num_nodes) for g in graphs])
    x = torch.randn(batch.num_nodes, 8, requires_grad=True)
    table = layers(batch, 8)
    for module, call in table.values():
        for p in module.parameters():
            p.data.add_(0.1 * torch.randn_like(p))
        with scatter.way("with"):
            scatter.training_pass(module, call, x)
        assert not reached
        same_in_every_way(scatter, module, call, x, 1e-4)
        reached.clear()
    with scatter.way("kernels"):
        table["LaplacianAttentionConv"][1](x)
    assert set(reached) == {"scatter"}


@pytest.mark.parametrize("name", ["sym", "combinatorial", "attention", "gated", "vector"])
def test_layers_with_weights_that_learn(scatter, name):
    """In float64, gradients of edge weights among them: the bound of λ is a maximum over edges, with ties."""
    edges, weight = random_graph(9, weighted=True)
    said, unit = torch.randn(edges.size(1), 2).double(), torch.randn(edges.size(1), 3).double()
    graph, vectors = torch.tensor([0] * 5 + [1] * 4), torch.randn(9, 3, 4).double()
    inside = graph[edges[0]] == graph[edges[1]]
    edges, said, unit = edges[:, inside], said[inside], unit[inside]
    learned = torch.nn.Parameter(weight[inside].double())
    module, call = {
        "sym": (conv := LaplacianConv(4, 6, K=4), lambda x: conv(x, edges, learned, graph)),
        "combinatorial": (poly := LaplacianConv(4, 6, K=4, normalization=None), lambda x: poly(x, edges, learned, graph)),
        "attention": (att := LaplacianAttentionConv(4, 3, 2, edge_dim=2), lambda x: att(x, edges, said, learned)),
        "gated": (gated := GatedConv(4, 6, edge_dim=2), lambda x: gated(x, edges, said, learned)),
        "vector": (vector := VectorConv(4, 4, edge_dim=2), lambda x: vector(x, vectors, edges, said, unit, learned)),
    }[name]
    module.double().register_parameter("learned", learned)
    same_in_every_way(scatter, module, call, torch.randn(9, 4, dtype=torch.float64, requires_grad=True), 1e-12)
    assert learned.grad.abs().max() > 0


def test_the_network_of_hydrogens(scatter):
    batch = Batch.from_data_list(
        [whole_data(molecule_from_mol(embed(s))) for s in ("CC(C)O", "C=CNC(=O)CS", "[NH3+]CC(=O)[O-]")]
    )
    torch.manual_seed(0)
    net = HydrogenNet(width=16, depths=(1, 1))
    for head in (net.choose, net.shift):
        torch.nn.init.normal_(head[2].weight, std=0.3)
    noise = torch.randn(batch.num_nodes, DRAWS)
    outcomes = []
    for name in scatter.WAYS:
        with scatter.way(name):
            net.zero_grad()
            loss = net.loss(batch, noise)[0]
            loss.sum().backward()
            grads = [p.grad.clone() for p in net.parameters() if p.grad is not None]
            outcomes.append([loss.detach(), net.draw(batch, noise).detach(), *grads])
    assert all(scatter.difference(other, outcomes[0]) < 1e-3 for other in outcomes[1:])


def test_the_shipped_weights_draw_the_same(scatter):
    generator = ConformerGenerator.from_pretrained(device="cpu")
    paracetamol = molecule_from_mol(embed("CC(=O)Nc1ccc(O)cc1"))
    drawn = []
    for name in scatter.WAYS:
        with scatter.way(name):
            (made,) = generator.sample([paracetamol], 2, seed=0)
            drawn.append(torch.as_tensor(made.positions))
    for other in drawn[1:]:
        torch.testing.assert_close(other, drawn[0], atol=1e-3, rtol=0)
