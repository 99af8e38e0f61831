"""Gaussian fields on irregular graphs against the closed form of their law; digits as scikit-learn has them."""

import numpy as np
import pytest
import torch

from pyg_diffusion.data import laplacian_operator
from pyg_diffusion.datasets import Digits, GraphFields
from pyg_diffusion.metrics.classes import Judge, frechet_distance
from pyg_diffusion.metrics.fields import covariance_error
from pyg_diffusion.spectral import DenseOperator
from pyg_diffusion.tasks import recipe_from
from pyg_diffusion.tasks.signals.generator import GraphSignalGenerator
from pyg_diffusion.weights_io import Card, build_denoiser


@pytest.fixture(scope="module", params=["sensors", "sphere"])
def fields(request, tmp_path_factory) -> GraphFields:
    return GraphFields(tmp_path_factory.mktemp("fields"), request.param, num_nodes=24, num_samples=1500, length=1.0)


def covariance(fields: GraphFields) -> torch.Tensor:
    operator = laplacian_operator(fields[0], DenseOperator.from_laplacian, torch.float64)
    return operator.matrix(fields.power)[0]


def exact(fields: GraphFields, count: int, seed: int) -> torch.Tensor:
    """Signals of the law by its Cholesky factor, `[count, N, 1]`."""
    noise = torch.from_numpy(np.random.default_rng(seed).standard_normal((24, count)))
    return (torch.linalg.cholesky(covariance(fields)) @ noise).T[:, :, None]


def test_fields_have_the_covariance_of_their_law(fields):
    x = fields.fields.double()
    floor = covariance_error(exact(fields, 1500, 1), exact(fields, 3000, 2))
    assert covariance_error(x, exact(fields, 3000, 2)) < 1.2 * floor
    torch.testing.assert_close(x[:, :, 0].mT.cov(), covariance(fields), rtol=0, atol=0.1)
    again = GraphFields(fields.root, "sensors", num_nodes=24, num_samples=2, length=1.0)
    assert len(again) == 2 and again[0].edge_index.size(1) == again[0].edge_weight.numel()


@pytest.mark.parametrize("fields", ["sensors"], indirect=True)
def test_the_prior_of_a_recipe_samples_the_law(fields, tmp_path):
    """Weights that were never trained are the best linear denoiser under the fitted p: they draw N(0, p(L))."""
    arguments = {"root": str(tmp_path), "graph": "sensors", "num_nodes": 24, "num_samples": 1500, "length": 1.0}
    recipe = recipe_from(
        {
            "data": {"kind": "signals", "dataset": "pyg_diffusion.datasets:GraphFields", "arguments": arguments},
            "process": {"gamma": 0.5, "lambda0": 0.5, "noise": "matched", "tau_min": 1e-4, "tau_max": 12.0},
            "model": {"width": 4, "depth": 1, "heads": 1},
        }
    )
    data = recipe.task.datamodule(recipe)
    model = recipe.to_dict()["model"] | data.model_facts()
    card = Card(process=recipe.process.facts(), model=model, bf16=False, centered=False, **data.card_facts())
    generator = GraphSignalGenerator(build_denoiser(card, data.spectrum()), card, steps=20, device="cpu")
    made = generator.sample(600).double()
    floor = covariance_error(exact(fields, 600, 1), exact(fields, 3000, 2))
    assert covariance_error(made, exact(fields, 3000, 2)) < 1.6 * floor


def test_bad_arguments(tmp_path):
    for options, said in (
        ({"graph": "tree"}, "sensors, sphere"),
        ({"num_nodes": 3}, "at least 4"),
        ({"nu": -1.0}, "nu >= 0"),
    ):
        with pytest.raises(ValueError, match=said):
            GraphFields(tmp_path, **options)


def test_digits_and_their_judge(tmp_path):
    pytest.importorskip("sklearn")
    digits = Digits(tmp_path)
    x, label = digits.stacked("x"), digits.stacked("digit")
    assert x.shape == (1797, 64, 1) and float(x.min()) == -1 and float(x.max()) == 1
    assert torch.bincount(label).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    judge = Judge(x[:1000], label[:1000])
    assert judge.agreement(x[1000:], label[1000:]) > 0.9 > 0.2 > judge.agreement(x[1000:], (label[1000:] + 1) % 10)
    one, other, noise = (judge.features(v) for v in (x[1000:1400], x[1400:], torch.rand(400, 64, 1) * 2 - 1))
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(one, noise) > 5 * frechet_distance(one, other)


def test_frechet_distance_of_gaussians():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((50, 3)))
    x = (x - x.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(x.mT.cov())).mT  # covariance 1 exactly
    scale, shift = torch.tensor([1.0, 2.0, 3.0]).double(), torch.tensor([1.0, 0.0, -1.0]).double()
    assert frechet_distance(x, x * scale + shift) == pytest.approx(2 + 0 + 1 + 4)
