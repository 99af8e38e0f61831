"""Which level of theory is sampled where none is asked for."""

import pytest
import torch

from pyg_diffusion import ConformerGenerator
from pyg_diffusion.denoise import Denoiser
from pyg_diffusion.nn import ConformerNet
from pyg_diffusion.sde import GeometricTime, LinearSDE
from pyg_diffusion.spectral import PowerSpectrum
from pyg_diffusion.tasks import recipe_from
from pyg_diffusion.train.recipe import RecipeError
from pyg_diffusion.weights_io import Card


def generator(**data) -> ConformerGenerator:
    torch.manual_seed(0)
    net = ConformerNet(width=16, depths=(1,), heads=2, pair_width=8, levels=("xtb", "mmff"))
    denoiser = Denoiser(net, LinearSDE(GeometricTime(), gamma=1.33), PowerSpectrum.harmonic(1.33), centered=True)
    card = Card(process={}, model={"levels": ["xtb", "mmff"]}, bf16=False, data={"kind": "molecules", **data})
    return ConformerGenerator(denoiser, card, steps=3, device="cpu", unsound="keep")


def test_the_first_level_that_is_for_a_molecule_so_large(molecules):
    by_size = sorted(molecules, key=lambda m: len(m.z))
    small, large = by_size[0], by_size[-1]
    limited, free = generator(level_limits={"xtb": len(small.z)}), generator()
    assert [limited.level_for(m) for m in (small, large)] == ["xtb", "mmff"]
    assert [free.level_for(m) for m in (small, large)] == ["xtb", "xtb"]
    assert generator(level_limits={"xtb": 1, "mmff": 1}).level_for(large) == "xtb"  # none is for it
    with torch.no_grad():  # levels apart, so that each leaves its mark
        for model in (limited, free):
            model.denoiser.net.level.weight.copy_(torch.eye(3, 16) * 9)
    drawn = {
        (name, level): model.sample([large], 1, level=level, max_attempts=1)[0].positions
        for name, model in (("limited", limited), ("free", free))
        for level in (None, "xtb", "mmff")
    }
    assert (drawn["limited", None] == drawn["limited", "mmff"]).all()
    assert (drawn["free", None] == drawn["free", "xtb"]).all()
    assert abs(drawn["free", "xtb"] - drawn["free", "mmff"]).max() > 0.01


def test_a_limit_of_an_unknown_level_is_refused():
    values = {"data": {"store": ["s.h5"], "level_limits": {"AM1": 9}}, "model": {"levels": ["xtb"]}}
    with pytest.raises(RecipeError, match="does not name AM1"):
        recipe_from(values)
