"""What a recipe says of matrices."""

from typing import Literal

from ...train.recipe import Counted, DataSection, Positive, Seed


class MatricesData(DataSection):
    """Inverses of the matrices of `datasets.MatrixInverse`, drawn as they are needed."""

    kind: Literal["matrices"] = "matrices"
    n: Counted = 20
    """rows"""
    c: Positive = 0.5
    """conditioning of the matrices trained on"""
    seed: Seed = 0
    """of the matrices"""
    num_samples: Counted = 200_000
    """matrices in one epoch"""
    val_samples: Counted = 500
    """how many to validate on"""
