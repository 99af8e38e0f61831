"""Names that have moved go on working under their old addresses for one release, with a warning that tells the new one."""

from importlib import import_module

import pytest

import pyg_diffusion

OLD = {
    "pyg_diffusion": ["Generator"],
    "pyg_diffusion.generate": ["Generator", "Conformers", "embed_multiple_confs"],
    "pyg_diffusion.generate_fields": ["FieldGenerator"],
    "pyg_diffusion.generate_matrices": ["MatrixInverter"],
    "pyg_diffusion.pipeline": ["sample_records", "evaluate_files", "Tally"],
    "pyg_diffusion.pipeline_fields": ["evaluate_fields"],
    "pyg_diffusion.pretrained": [
        "Card",
        "WeightsError",
        "build_denoiser",
        "join_stages",
        "load_pretrained",
        "save_pretrained",
    ],
    "pyg_diffusion.train": ["Config", "ConformerDataModule", "FieldDataModule", "finetune_recipe", "load_config"],
    "pyg_diffusion.train.config": ["ConfigError", "MoleculesConfig", "TrainConfig", "from_dict", "load_config"],
    "pyg_diffusion.train.conformers": ["ConformerDataModule", "rotations"],
    "pyg_diffusion.train.fields": ["FieldDataModule"],
    "pyg_diffusion.train.matrices": ["MatrixDataModule"],
    "pyg_diffusion.train.finetune": ["finetune_recipe"],
}


@pytest.mark.parametrize("module", OLD)
def test_old_addresses_give_what_has_moved_and_say_so(module):
    home = import_module(module)
    for name in OLD[module]:
        with pytest.warns(DeprecationWarning, match=rf"{module}\.{name} is now pyg_diffusion\.\S+; the old name goes in"):
            found = getattr(home, name)
        assert found.__module__ != module
    with pytest.raises(AttributeError, match="has no attribute 'nothing_of_this_name'"):
        _ = home.nothing_of_this_name


def test_what_the_door_names_is_there_without_a_warning(recwarn):
    for name in pyg_diffusion.__all__:
        assert getattr(pyg_diffusion, name) is not None
    assert not [w for w in recwarn if issubclass(w.category, DeprecationWarning) and "pyg_diffusion" in str(w.message)]
