"""Training: as thin as Lightning allows. Needs no RDKit."""

from .config import Config, load_config
from .conformers import ConformerDataModule
from .fields import FieldDataModule
from .finetune import finetune_recipe
from .module import DenoiserModule
from .run import train

__all__ = ["Config", "ConformerDataModule", "DenoiserModule", "FieldDataModule", "finetune_recipe", "load_config", "train"]
