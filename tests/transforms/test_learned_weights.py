"""Bond weights by maximum likelihood: closed form on trees, the likelihood itself in rings, and what is not there."""

import pytest
import torch
from rdkit import Chem
from torch_geometric.data import Batch, Data

from pyg_diffusion.chem import molecule_from_mol
from pyg_diffusion.spectral import Laplacian
from pyg_diffusion.transforms import AddBondWeights, fit_bond_weights
from pyg_diffusion.transforms.bond_kinds import kinds_of, names_of


def conformers(*smiles: str) -> Batch:
    """Random positions: what is fitted need not be chemistry."""
    generator = torch.Generator().manual_seed(0)
    found = [molecule_from_mol(Chem.AddHs(Chem.MolFromSmiles(s))).data(None) for s in smiles]
    for data in found:
        data.pos = 0.6 * torch.randn(data.num_nodes, 3, generator=generator)
    return Batch.from_data_list(found)


def log_likelihood(batch: Batch, weight: torch.Tensor, gamma: float, lambda0: float) -> torch.Tensor:
    """½ (3 log det⁺(γL + λ₀) - xᵀ(γL + λ₀)x), the free translation of each molecule left out, from dense matrices."""
    total = weight.new_zeros(())
    for graph in range(batch.num_graphs):
        mine = batch.batch == graph
        edge = mine[batch.edge_index[0]]
        i, j = batch.edge_index[:, edge] - int(batch.ptr[graph])
        n, w = int(mine.sum()), weight[edge]
        rate = weight.new_zeros(n, n).index_put((i, j), -gamma * w, accumulate=True)
        rate = rate - torch.diag(rate.sum(1)) + lambda0 * torch.eye(n, dtype=w.dtype)
        x = batch.pos[mine].double()
        centred = x - x.mean(0)
        one = torch.ones(n, n, dtype=w.dtype) / n
        total = total + 1.5 * torch.logdet(rate + (1 - lambda0) * one) - 0.5 * (centred * (rate @ centred)).sum()
    return total


def test_in_a_tree_a_kind_has_the_weight_of_its_mean_square_length():
    batch = conformers("CCO", "CC(=O)N")
    found, (i, j) = fit_bond_weights([batch], gamma=2.0), batch.edge_index
    kinds = kinds_of(batch.z, batch.edge_index, batch.edge_attr)
    square = (batch.pos[i] - batch.pos[j]).double().square().sum(1)
    for kind in kinds.unique().tolist():
        assert found[names_of(kind)[0]] == pytest.approx(3 / (2.0 * float(square[kinds == kind].mean())), rel=1e-9)
    assert found["any"] == pytest.approx(3 / (2.0 * float(square.mean())), rel=1e-9)
    assert found["single"] == pytest.approx(3 / (2.0 * float(square[batch.edge_attr == 1].mean())), rel=1e-9)


@pytest.mark.parametrize("lambda0", [0.0, 0.4])
def test_in_rings_the_likelihood_has_its_maximum(lambda0):
    """Its gradient, by autograd through dense matrices, vanishes; every other weight is less likely."""
    batch = conformers("C1CC1O", "c1ccccc1C=O", "C1CC2CC1C2")
    found = fit_bond_weights([batch[0], Batch.from_data_list([batch[1], batch[2]])], 1.5, lambda0, tol=1e-9, rounds=2000)
    kinds, place = kinds_of(batch.z, batch.edge_index, batch.edge_attr).unique(return_inverse=True)
    log_w = torch.tensor([found[names_of(k)[0]] for k in kinds.tolist()], dtype=torch.float64).log().requires_grad_()
    best = log_likelihood(batch, log_w.exp()[place], 1.5, lambda0)
    (slope,) = torch.autograd.grad(best, log_w)
    assert slope.abs().max() < 1e-5 and len(kinds) > 4
    for k in range(len(kinds)):
        for step in (-0.1, 0.1):
            moved = log_w.detach() + step * torch.eye(len(kinds), dtype=torch.float64)[k]
            assert log_likelihood(batch, moved.exp()[place], 1.5, lambda0) < best


def test_weights_are_looked_up_by_kind_then_class_then_any():
    weights = {"6-8 single": 2.0, "single": 3.0, "any": 5.0}
    data = molecule_from_mol(Chem.MolFromSmiles("OCNC=C")).data(None)
    told = AddBondWeights("learned", weights)(data)
    assert told.edge_weight[:4].tolist() == [2.0, 3.0, 5.0, 5.0]  # O-C, C-N, conjugated N-C, C=C
    assert Laplacian.from_edges(told.edge_index, 5, told.edge_weight).matrix.to_dense()[0, 1] == -2.0
    with pytest.raises(ValueError, match=r"bond 3-4 of type 'double' .* has no learned in the learned weights"):
        AddBondWeights("learned", {"single": 3.0, "conjugated": 3.0})(data)


def test_bad_input_is_one_sentence():
    with pytest.raises(ValueError, match="weights go with kind 'learned'"):
        AddBondWeights("learned")
    with pytest.raises(ValueError, match="weights go with kind 'learned'"):
        AddBondWeights("order", {"any": 1.0})
    with pytest.raises(ValueError, match="'any' is not"):
        AddBondWeights("learned", {"any": float("nan")})
    with pytest.raises(ValueError, match="γ > 0, got 0"):
        fit_bond_weights([conformers("CC")], gamma=0.0)
    with pytest.raises(ValueError, match="no bonds"):
        fit_bond_weights([])
    flat = conformers("CC")
    flat.pos.zero_()
    with pytest.raises(ValueError, match="bonds 1-6 single have no length"):
        fit_bond_weights([flat])
    assert "weights={'any': 1.0}" in repr(AddBondWeights("learned", {"any": 1.0}))
    assert isinstance(AddBondWeights("learned", {"any": 1.0})(conformers("CC")), Data)
