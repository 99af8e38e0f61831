"""Laplacians of molecules: recipes, what weights remember, training and sampling with them, and what is refused."""

import numpy as np
import pytest
import torch
from conftest import embed
from rdkit import Chem
from torch_geometric.data import Batch

from pyg_diffusion import ConformerGenerator
from pyg_diffusion.chem import molecule_from_mol
from pyg_diffusion.chem.skeleton import skeleton
from pyg_diffusion.data import MoleculeStore, write_store
from pyg_diffusion.denoise import Denoiser
from pyg_diffusion.nn import ConformerNet, NetworkBase
from pyg_diffusion.nn.registry import NETWORKS, NetworkKind
from pyg_diffusion.sde import GeometricTime, LinearSDE
from pyg_diffusion.spectral import ChebyshevOperator, DenseOperator, LowRankOperator, PowerSpectrum
from pyg_diffusion.tasks import recipe_from
from pyg_diffusion.tasks.molecules.finetune import finetune_recipe
from pyg_diffusion.tasks.molecules.laplacian import MoleculeLaplacian
from pyg_diffusion.testing import gaussian_denoiser
from pyg_diffusion.train import RecipeError, train
from pyg_diffusion.train.datamodule import Draws
from pyg_diffusion.transforms import AddBondWeights, fit_bond_weights
from pyg_diffusion.weights_io import Card, load_pretrained

SMALL = {"width": 16, "depths": [1], "heads": 2, "pair_width": 8}
BRIEF = {"max_steps": 2, "val_every": 2, "threads": 1, "accelerator": "cpu"}
NODEWISE = {"kind": "nodewise"}


class Nodewise(NetworkBase):
    """F as a multiple of the whitened signal: asks nothing of the operator."""

    def __init__(self, gain: float = 0.1):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor([[gain]]))

    def forward(self, noisy, operator, context):
        return noisy.white * self.gain


@pytest.fixture(autouse=True)
def _a_network_for_any_backend():
    NETWORKS.add("nodewise", NetworkKind(Nodewise, tasks=("molecules",)))
    yield
    NETWORKS.remove("nodewise")


@pytest.fixture(scope="module")
def plain_store(tmp_path_factory):
    """Five molecules of one fragment each."""
    path = tmp_path_factory.mktemp("store") / "five.h5"
    write_store(path, [molecule_from_mol(embed(s, 3)) for s in ("CCO", "c1ccccc1O", "CC(=O)N", "N#CC1CC1", "C=CC")])
    return path


def recipe(store, model=None, train=None, process=None, **data):
    sections = {"data": {"store": [str(store)], "batch_size": 4, "val_fraction": 0.2, **data}, "model": model or SMALL}
    return recipe_from({**sections, "train": BRIEF | (train or {}), "process": process or {}})


def presented(asked):
    """(L, positions, what is told) of the whole training set, and the data module."""
    module = asked.task.datamodule(asked)
    batch = Batch.from_data_list([module.train[k] for k in range(len(module.train))])
    draws = Draws(torch.Generator().manual_seed(0), batch.num_graphs, batch.num_nodes)
    return (*module.present(batch, draws), module)


def dense(batch, weight=None, normalized=False):
    found = DenseOperator.from_edges(batch.edge_index, batch.num_nodes, weight, batch.batch, normalized=normalized)
    return found.matrix(lambda lam: lam).float()


@pytest.mark.parametrize("weight", ["unit", "order", "length", "learned"])
def test_training_sees_the_weights_of_the_recipe(plain_store, weight):
    operator, _, told, module = presented(recipe(plain_store, weight=weight))
    expected = None
    if weight == "learned":
        bonds = fit_bond_weights([told], gamma=1.33)  # all conformers are in one batch, in whatever order
        assert module.laplacian.bonds == pytest.approx(bonds, rel=1e-3)
        expected = AddBondWeights(weight, module.laplacian.bonds)(told).edge_weight
    elif weight != "unit":
        expected = AddBondWeights(weight)(told).edge_weight
    torch.testing.assert_close(operator.matrix(lambda lam: lam), dense(told, expected), atol=1e-4, rtol=1e-4)
    card = module.card_facts()["data"]
    assert card["weight"] == weight and MoleculeLaplacian.of(card).bonds == module.laplacian.bonds


def test_a_normalised_laplacian_shows_conformers_about_their_centre(plain_store):
    operator, pos, told, module = presented(
        recipe(plain_store, normalized=True, train={"exact_targets": ["rotations", "ensemble"]})
    )
    assert not module.centered and not operator.constant_null
    torch.testing.assert_close(operator.matrix(lambda lam: lam), dense(told, normalized=True), atol=1e-5, rtol=1e-4)
    assert operator.graph_sum(pos).abs().max() < 1e-4
    start = 0
    for graph in told.ensemble_batch.tolist():
        end = start + int(operator.sizes[graph])
        assert told.ensemble_pos[start:end].sum(0).abs().max() < 1e-4
        start = end
    modes = operator.to_modes(pos).square().mean(-1)
    null = operator.eigenvalues == 0
    spectrum = module.spectrum()
    assert float(spectrum(torch.zeros(1))) == pytest.approx(float(modes[null].mean()), rel=1e-3)
    assert spectrum(operator.eigenvalues[~null]).min() > 0.5 * float(spectrum.log_power.min().exp())


def test_cached_spectra_are_computed_once_and_change_nothing(plain_store, monkeypatch):
    calls = []
    monkeypatch.setattr(
        MoleculeLaplacian, "spectrum", lambda self, data, f=MoleculeLaplacian.spectrum: calls.append(1) or f(self, data)
    )
    cached, pos, told, module = presented(recipe(plain_store, weight="order", spectra="cached"))
    molecules = len({tuple(row) for row in module.train.index[:, :2].tolist()})
    assert len(calls) == molecules < len(module.train)
    monkeypatch.setattr("pyg_diffusion.spectral.DenseOperator.from_laplacian", None)  # nothing is decomposed any more
    again = module.laplacian.operator(told)
    monkeypatch.undo()
    fresh, same, _, _ = presented(recipe(plain_store, weight="order"))
    x = torch.randn(told.num_nodes, 3)
    for found in (cached, again):
        y = found.apply(lambda lam: torch.exp(-lam), x)
        torch.testing.assert_close(y, fresh.apply(lambda lam: torch.exp(-lam), x), atol=1e-5, rtol=1e-4)
    assert torch.equal(pos, same)


@pytest.mark.parametrize("weight", ["order", "length", "learned"])
def test_hydrogens_second_is_exact_with_any_weights(weight):
    """The Schur complement of the hydrogens is the skeleton's own weighted Laplacian."""
    for smiles in ("CC(=O)N", "c1ccccc1O", "C[C@H](N)C(=O)O"):
        whole = molecule_from_mol(embed(smiles))
        part = skeleton(whole)
        bonds = {"1-6 single": 2.5, "single": 1.7, "any": 3.1} if weight == "learned" else {}
        laplacian = MoleculeLaplacian(weight=weight, bonds=bonds)
        full, small = (
            laplacian.operator(laplacian.weighed(m.data(None))).to(torch.float64).matrix(lambda lam: lam)[0]
            for m in (whole, part.molecule)
        )
        kept, gone = torch.from_numpy(part.kept), torch.from_numpy(part.hydrogens)
        block = full[kept][:, gone]
        left = full[kept][:, kept] - block @ torch.linalg.inv(full[gone][:, gone]) @ block.mT
        torch.testing.assert_close(left, small, atol=2e-5, rtol=0)


def polymer():
    """A chain with branches and a ring."""
    return molecule_from_mol(drawing("C1CC1" + "CC(O)C(=O)N" * 24 + "C"), conformers=False)


def drawing(smiles):
    return Chem.AddHs(Chem.MolFromSmiles(smiles))


def test_chebyshev_noises_and_denoises_as_dense_does():
    """The exact denoiser of Gaussian molecules, at small and large noise, and how far its samples are from dense ones."""
    molecule = polymer()
    assert len(molecule.z) == 276
    laplacian = MoleculeLaplacian(weight="length", backend="chebyshev", tolerance=1e-5)
    data = laplacian.weighed(molecule.data(None))
    exact, found = laplacian.dense(data), laplacian.operator(data)
    assert isinstance(found, ChebyshevOperator)
    sde = LinearSDE(GeometricTime(1e-3, 40.0), gamma=1.0)
    denoiser = gaussian_denoiser(sde, lambda lam: 1 / (lam + 1e-2), centered=True)
    s_0, noise = torch.randn(2, len(molecule.z), 3)
    for tau in (0.01, 0.5, 20.0):
        t = sde.schedule.t(torch.tensor([[tau]]))
        made = []
        for operator in (exact, found):
            noised = operator.apply(sde.mean(t), s_0) + operator.apply(sde.std(t), noise)
            made.append((noised, denoiser(operator, noised, t)))
        for one, other in zip(*made, strict=True):
            assert (one - other).norm() < 2e-4 * one.norm()


@pytest.mark.parametrize(
    ("model", "options", "kind"),
    [
        ({"kind": "graph", "width": 16, "depth": 1}, {"backend": "chebyshev", "tolerance": 0.05}, ChebyshevOperator),
        (NODEWISE, {"backend": "lowrank", "modes": 6}, LowRankOperator),
    ],
)
def test_other_backends_train_remember_and_sample(plain_store, tmp_path, model, options, kind):
    asked = recipe(plain_store, model, weight="order", **options)
    assert asked.exact_targets == ()
    assert isinstance(presented(asked)[0], kind)
    result = train(asked, tmp_path / "run", progress=False)
    assert np.isfinite(result.val_loss)
    generator = ConformerGenerator.from_pretrained(result.weights, steps=3, device="cpu", unsound="keep")
    molecule = molecule_from_mol(embed("CCO"))
    data = generator.laplacian.weighed(molecule.data(None))
    assert isinstance(generator.operator(Batch.from_data_list([data])), kind)
    (made,) = generator.sample([molecule], 2, max_attempts=1, diversity=1.0)
    assert made.positions.shape == (2, 9, 3) and np.isfinite(made.confidence).all()


def untrained(**data):
    torch.manual_seed(0)
    denoiser = Denoiser(
        ConformerNet(width=16, depths=(1,), heads=2, pair_width=8), LinearSDE(GeometricTime(), gamma=1.33),
        PowerSpectrum.harmonic(1.33), centered=not data.get("normalized", False),
    )  # fmt: skip
    card = Card(process={}, model={}, bf16=False, elements=[1, 6, 7, 8], data={"kind": "molecules", **data})
    return ConformerGenerator(denoiser, card, steps=3, device="cpu", unsound="keep")


def test_sampling_uses_the_laplacian_of_the_card():
    """As the network is handed it."""
    molecule = molecule_from_mol(embed("CC(=O)N"))
    for data in ({}, {"weight": "unit"}, {"weight": "length"}, {"normalized": True}, {"spectra": "cached"}):
        generator, seen = untrained(**data), []
        generator.denoiser.net.register_forward_pre_hook(lambda net, args, seen=seen: seen.append(args[1]))
        (made,) = generator.sample([molecule], 2, max_attempts=1)
        weight = AddBondWeights("length")(molecule.data(None)).edge_weight if data.get("weight") == "length" else None
        expected = dense(Batch.from_data_list([molecule.data(None)]), weight, data.get("normalized", False))[0]
        torch.testing.assert_close(seen[0].matrix(lambda lam: lam)[0], expected, atol=1e-4, rtol=1e-4)
        assert made.positions.shape == (2, 9, 3)


def test_cards_of_before_mean_unit_weights_not_normalised_dense():
    assert MoleculeLaplacian.of({"kind": "molecules", "hydrogens": "second"}) == MoleculeLaplacian()
    found = MoleculeLaplacian.of({"kind": "molecules"})
    assert (found.weight, found.normalized, found.backend) == ("unit", False, "dense")


def test_a_bond_without_a_weight_is_the_molecules_problem_when_sampled():
    odd, plain = (molecule_from_mol(drawing(smiles), conformers=False) for smiles in ("C[Ge](C)C", "CCO"))
    results = untrained(weight="length").sample([odd, plain], 1, max_attempts=1)
    assert "has no length in schema's tables" in results[0].problem and not len(results[0].positions)
    assert not results[1].problem and results[1].positions.shape == (1, 9, 3)


def test_what_cannot_be_combined_is_refused_in_one_sentence(plain_store, tmp_path):
    refused = {
        "hydrogens are drawn second because": {"normalized": True, "hydrogens": "second"},
        "learned weights are fitted to D - W": {"normalized": True, "weight": "learned"},
        "set process.gamma > 0": {"weight": "learned", "process": {"gamma": 0.0, "lambda0": 1.0}},
        "the network conformer reads entries of heat kernels": {"backend": "chebyshev"},
        "exact targets need the modes of L": {
            "backend": "chebyshev", "model": NODEWISE, "train": {"exact_targets": ["rotations"]},
        },
        "needs to know how many modes": {"backend": "lowrank", "model": NODEWISE},
        "modes: 5 is for backend lowrank": {"modes": 5},
        "tolerance: 0.1 is for backend chebyshev": {"tolerance": 0.1},
        "spectra: cached is for backend dense": {"spectra": "cached", "backend": "chebyshev", "model": NODEWISE},
        "the second stage reads no Laplacian": {
            "weight": "order", "hydrogens": "second", "model": {"kind": "hydrogen", "width": 16, "depths": [1, 1]},
        },
        "must be one of unit, order, length, learned": {"weight": "mass"},
    }  # fmt: skip
    for message, options in refused.items():
        with pytest.raises(RecipeError, match=message) as error:
            recipe(plain_store, **options)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="known up to a translation"):
        molecule = molecule_from_mol(embed("CCO"))
        untrained(normalized=True).sample([molecule], 1, fixed=[molecule.pos[0]])
    with pytest.raises(ValueError, match=r"data\.weight must be one of"):
        untrained(weight="heavy")
    write_store(tmp_path / "odd.h5", [molecule_from_mol(embed("C[Ge](C)C")), molecule_from_mol(embed("CC"))])
    odd = recipe(tmp_path / "odd.h5", weight="length")
    with pytest.raises(RecipeError, match=r"data.weight: .*odd.h5: bond .* has no length"):
        odd.task.datamodule(odd)


def test_weights_to_begin_with_bring_their_own_bonds(plain_store, tmp_path):
    first = train(recipe(plain_store, weight="learned"), tmp_path / "first", progress=False)
    bonds = load_pretrained(first.weights)[1].data["bonds"]
    store = tmp_path / "two.h5"
    write_store(store, [MoleculeStore(plain_store)[0], molecule_from_mol(embed("CCCN", 2))])
    tuned = finetune_recipe(str(store), "", str(first.weights), overrides=["train.max_steps=1", "train.accelerator=cpu"])
    assert tuned.data.weight == "learned"
    assert tuned.task.datamodule(tuned).card_facts()["data"]["bonds"] == bonds
    with pytest.raises(RecipeError, match=r"was trained with data\.weight: learned; begin with the same"):
        other = recipe(plain_store, train={"init_from": str(first.weights)})
        other.task.datamodule(other)
