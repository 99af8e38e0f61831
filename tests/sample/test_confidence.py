"""Confidence: the superposition it rests on, and a denoiser whose uncertainty is known."""

import torch
from torch_geometric.data import Batch

from pyg_diffusion.data import laplacian_operator
from pyg_diffusion.denoise import Denoiser
from pyg_diffusion.nn import ConformerNet
from pyg_diffusion.sample.confidence import superimposed, uncertainty
from pyg_diffusion.sde import GeometricTime, LinearSDE
from pyg_diffusion.spectral import PowerSpectrum
from pyg_diffusion.tasks.molecules.data import rotations


def test_superposition_undoes_turns_but_no_reflection_and_is_the_best():
    x, weight = torch.randn(5, 9, 3, dtype=torch.float64), torch.ones(5, 9, dtype=torch.float64)
    weight[1, 6:] = 0  # padding
    turn = rotations(torch.randn(5, 4, dtype=torch.float64))
    y = torch.einsum("bni,bij->bnj", x, turn) + 3.0
    assert (weight * superimposed(x, y, weight)).max() < 1e-12
    assert (weight * superimposed(x * torch.tensor([1.0, 1.0, -1.0]), y, weight)).sum(1).min() > 0.1
    y = y + 0.1 * torch.randn_like(y)
    best = (weight * superimposed(x, y, weight)).sum(1)
    centre = (weight / weight.sum(1, keepdim=True)).unsqueeze(-1)
    near, far = x - (centre * x).sum(1, keepdim=True), y - (centre * y).sum(1, keepdim=True)
    for _ in range(200):
        turned = torch.einsum("bni,bij->bnj", near, rotations(torch.randn(5, 4, dtype=torch.float64)))
        assert ((weight.unsqueeze(-1) * (turned - far).square()).sum((1, 2)) >= best - 1e-9).all()


def test_a_denoiser_that_always_says_the_same_is_as_unsure_as_it_is_far(molecules, monkeypatch):
    """D = x* whatever it sees: c is the best RMSD of the sample to x*, over the nodes that count."""
    denoiser = Denoiser(
        ConformerNet(width=16, depths=(1,), heads=2, pair_width=8), LinearSDE(GeometricTime(), gamma=1.33),
        PowerSpectrum.harmonic(1.33), centered=True,
    )  # fmt: skip
    batch = Batch.from_data_list([m.data(0) for m in molecules[:4]])
    operator = laplacian_operator(batch)
    heavy = (batch.z > 1).float()
    heavy[batch.batch == 3] = 1.0

    def noise():
        return torch.randn(batch.num_nodes, 3)

    for sigma in (0.0, 0.3):
        truth = batch.pos + sigma * noise()
        monkeypatch.setattr(denoiser, "denoise", lambda *_, truth=truth: operator.to_work(truth))
        found = uncertainty(denoiser, operator, batch.pos, None, noise, heavy)
        square = superimposed(operator.pack(truth), operator.pack(batch.pos), operator.pack(heavy))
        expected = ((operator.pack(heavy) * square).sum(1) / operator.pack(heavy).sum(1)).sqrt()
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-3)
    assert found.min() > 0.05
