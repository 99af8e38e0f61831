"""Training: as thin as Lightning allows. Needs no RDKit."""

from .config import Config, load_config
from .datamodule import ConformerDataModule
from .module import DenoiserModule
from .run import train

__all__ = ["Config", "ConformerDataModule", "DenoiserModule", "load_config", "train"]
