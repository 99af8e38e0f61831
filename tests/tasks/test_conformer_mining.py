"""Negatives of molecules: what a torsion kick leaves as it was, gaps of Boltzmann weights, and which recipes take them."""

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch

from pyg_diffusion.data import MoleculeStore, laplacian_operator, write_store
from pyg_diffusion.denoise import Denoiser
from pyg_diffusion.nn import NETWORKS
from pyg_diffusion.regularize import superposed
from pyg_diffusion.sde import GeometricTime, LinearSDE
from pyg_diffusion.spectral import PowerSpectrum
from pyg_diffusion.tasks import recipe_from
from pyg_diffusion.tasks.molecules.mining import KT, MinimumNegatives, TorsionNegatives
from pyg_diffusion.train import RecipeError, train
from pyg_diffusion.train.datamodule import Draws

VE = {"gamma": 0.0, "lambda0": 0.0}
SDE = LinearSDE(GeometricTime(1e-4, 40.0), gamma=0.0)


def denoiser() -> Denoiser:
    torch.manual_seed(0)
    net = NETWORKS["energy"].make({"kind": "energy", "atoms": True, "width": 16, "depth": 1, "heads": 2})
    for p in net.parameters():
        p.data.add_(0.1 * torch.randn_like(p))
    return Denoiser(net, SDE, PowerSpectrum.harmonic(), centered=True)


def mine(miner, batch, tau):
    """What it made, and S⁻ itself."""
    seen = {}

    class Watched(type(miner)):
        def negatives(self, positive):
            found = super().negatives(positive)
            seen.update(signal=found.signal, positive=positive)
            return found

    miner.__class__ = Watched
    operator = laplacian_operator(batch)
    t = SDE.schedule.t(torch.full((batch.num_graphs, 1), tau))
    noise = torch.randn(batch.pos.shape, generator=torch.Generator().manual_seed(1))
    mined = miner(denoiser(), operator, batch.pos, noise, t, batch, torch.Generator().manual_seed(0))
    return mined, seen["signal"], seen["positive"]


def test_a_torsion_kick_keeps_lengths_angles_and_handedness(molecules):
    batch = Batch.from_data_list([m.data(0) for m in molecules])
    mined, signal, positive = mine(TorsionNegatives(kicks=3), batch, 1e-3)
    x = signal - positive.operator.apply(positive.parts.sigma, positive.noise)  # φ = 1
    i, j = batch.edge_index
    for a, b in ((i, j), *angle_ends(batch)):
        before, after = ((y[a] - y[b]).norm(dim=1) for y in (positive.x_0, x))
        torch.testing.assert_close(after, before, atol=2e-3, rtol=0)
    moved = positive.operator.graph_sum((x - positive.x_0).square()).sum(1).sqrt()
    # Kicked: butanol, butenol, alanine, betaine; not water, nor what has no bond to turn outside a ring.
    assert [m.smiles for m, k in zip(molecules, mined.kept.tolist(), strict=True) if k] == [
        m.smiles for m in molecules if m.smiles in ("C[C@H](N)C(=O)O", "C/C=C/CO", "C[N+](C)(C)CC(=O)[O-]", "CCCCO")
    ]
    assert bool((moved[mined.kept] > 0.5).all()) and bool((moved[~mined.kept] < 0.5).all())
    assert bool((mined.true_gap[mined.kept] > 0).all()) and mined.loss.requires_grad
    a, b, c, d = (batch.tetra_index[k] for k in range(1, 5))
    volumes = [torch.linalg.det(torch.stack([y[k] - y[d] for k in (a, b, c)], 1)) for y in (positive.x_0, x)]
    assert bool((volumes[0] * volumes[1] > 0).all())


def angle_ends(batch):
    """Atoms two bonds apart."""
    n = batch.num_nodes
    adjacency = torch.zeros(n, n).index_put((batch.edge_index[0], batch.edge_index[1]), torch.ones(1))
    ends = ((adjacency @ adjacency) > 0) & ~torch.eye(n, dtype=torch.bool)
    return [torch.where(ends)]


@pytest.fixture
def with_energies(molecules, tmp_path):
    """The same molecules with energies 0, 1 and 3 kcal/mol above the lowest."""
    for m in molecules:
        m.energies = [1.0, 0.0, 3.0][: len(m.pos)]
    write_store(tmp_path / "e.h5", molecules)
    for m in molecules:
        m.energies = []
    return tmp_path / "e.h5"


def recipe(store, miner="minima", **train_options) -> dict:
    options = {"max_steps": 5, "val_every": 5, "threads": 1, "accelerator": "cpu", "bf16": False, "miner": miner}
    return {
        "data": {"store": [str(store)], "batch_size": 8, "val_fraction": 0.2},
        "process": VE,
        "model": {"kind": "energy", "width": 16, "depth": 1, "heads": 2},
        "train": options | train_options,
    }


def test_gaps_of_minima_are_their_boltzmann_weights(with_energies):
    config = recipe_from(recipe(with_energies))
    data = config.task.datamodule(config)
    batch = Batch.from_data_list([data.train[k] for k in range(len(data.train))])
    _, x_0, told = data.present(batch, Draws(torch.Generator().manual_seed(0), batch.num_graphs, batch.num_nodes))
    told.pos = x_0
    mined, signal, positive = mine(MinimumNegatives(), told, 4e-4)
    own = torch.tensor([[1.0, 0.0, 3.0][k] for k in data.train.index[:, 2]])
    assert bool((mined.kept <= (own < 3)).all()) and mined.kept.sum() > 5
    gaps = mined.true_gap[mined.kept] * KT
    possible = torch.tensor([2.0, 1.0, 3.0])  # 3 above 1, 1 and 3 above 0
    assert bool(((gaps[:, None] - possible).abs().min(1).values < 1e-4).all())
    # The negative is a conformer of the store, as it is shown: turned and reflected as the positive.
    x = signal - 0.02 * positive.noise
    for g in mined.kept.nonzero()[:4, 0].tolist():
        mine_ = told.batch == g
        row = data.train.index[g]
        store = MoleculeStore(with_energies)
        poses = [torch.from_numpy(p) for p in store[int(row[1])].pos]
        one = laplacian_operator(Batch.from_data_list([data.train[g]]))
        weight = torch.ones(int(mine_.sum()), 1)
        best = min(
            float((superposed(one, x[mine_], hand * p, weight) - x[mine_]).norm()) for p in poses for hand in (1.0, -1.0)
        )
        assert best < 0.02
    far, _, _ = mine(MinimumNegatives(), told, 4.0)  # noise of 2 Å carries from one to the other
    assert not bool(far.kept.any()) and not bool(far.loss.any())


@pytest.mark.parametrize("miner", ["torsions", "minima", "adversarial"])
def test_energies_train_with_negatives(miner, with_energies, tmp_path):
    result = train(recipe_from(recipe(with_energies, miner)), tmp_path / "run", progress=False)
    assert np.isfinite(result.val_loss) and result.steps == 5


def test_what_cannot_be_mined_is_said(store_path):
    with pytest.raises(RecipeError, match=r"fields take one of none, random, .*, got 'torsions'"):
        recipe_from({"data": {"kind": "fields"}, "model": {"kind": "energy"}, "train": {"miner": "torsions"}})
    with pytest.raises(RecipeError, match="negatives are for energies; eps is none"):
        recipe_from({"model": {"kind": "eps"}, "process": VE, "train": {"miner": "minima"}})
    with pytest.raises(RecipeError, match="minima reads energies of conformers, and the stores have none"):
        config = recipe_from(recipe(store_path))
        config.task.datamodule(config)
    with pytest.raises(RecipeError, match="at least 1 bond must be turned, got 0"):
        recipe_from(recipe(store_path, "torsions", miner_options={"kicks": 0}))
    with pytest.raises(ValueError, match="apart and most must be positive"):
        MinimumNegatives(apart=0.0)
