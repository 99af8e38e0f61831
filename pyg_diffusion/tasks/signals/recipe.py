"""What a recipe says of signals of your own."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ...data.signals import Names
from ...train.recipe import DataSection, Recipe, Seed
from ..backend import BackendOptions
from ..resolution import ResolutionOptions, check_resolution

Share = Annotated[float, Field(gt=0, lt=1)]


class SignalsData(BackendOptions, ResolutionOptions, DataSection):
    """Signals on graphs: of a file, or of any PyG data set. Exactly one of `path` and `dataset` is given."""

    kind: Literal["signals"] = "signals"
    backend: Literal["auto", "dense", "chebyshev", "lowrank"] = "auto"
    """auto, exact on grids and on graphs of up to 512 nodes, else chebyshev; dense, exact; chebyshev, polynomials in L, for
    graphs of any size; lowrank, the lowest modes and a constant for the others, the fastest on one large graph"""
    path: str = ""
    """file of signals: .h5, .npz or .pt (`data.signal_file`)"""
    dataset: str = ""
    """module:Name of a PyG data set, or of anything else that gives `Data`"""
    arguments: dict[str, Any] = Field({})
    """of the data set"""
    signal: str = "x"
    """the attribute that is modelled"""
    weight: str = "edge_weight"
    """the attribute that edges are weighted by, edge_weight if there is one; empty: all alike"""
    mask: str = ""
    """the attribute that is true where a value is known; empty: all are. The others are drawn once, before training, from
    the Gaussian law of the known ones"""
    positions: bool = True
    """whether the network reads pos, where there is any"""
    categories: list[str] = Field([])
    """conditions (model.conditions) that are classes, such as a digit, and no quantities"""
    split: Literal["index", "graph", "time"] = "index"
    """what is held out: single signals at random, whole graphs at random, or the latest"""
    time: str = ""
    """the attribute that tells the time, for split: time; empty: the order is that of time"""
    val_fraction: Share = 0.1
    """held out of training, to choose the best weights by"""
    test_fraction: Share = 0.1
    """held out of all, to compare with"""
    seed: Seed = 0
    """of the split"""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.path) == bool(self.dataset):
            raise ValueError("path: give either path, a file, or dataset, module:Name of a PyG data set")
        if self.arguments and not self.dataset:
            raise ValueError("arguments: they are those of a dataset, and there is none")
        if self.time and self.split != "time":
            raise ValueError(f"time: it goes with split: time, and has no effect on {self.split}")
        if self.mask and (self.coarse or self.coarsen > 1):
            raise ValueError("mask: means over clusters need all values; leave coarsen and coarse out")
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("val_fraction: with test_fraction it leaves nothing to train on")
        return self

    def names(self, *scalars: str) -> Names:
        """What is called how, with numbers of each signal."""
        more = dict.fromkeys([*scalars, *filter(None, [self.time])])
        return Names(self.signal, self.weight, self.mask, tuple(more))


def check(recipe: Recipe) -> None:
    """Raises RecipeError where sections do not go together."""
    from ...sections import RecipeError

    data = recipe.data
    assert isinstance(data, SignalsData)
    if stray := sorted(set(data.categories) - set(recipe.model.conditions)):
        raise RecipeError(f"data.categories: {stray[0]!r} is no condition; name it in model.conditions as well")
    check_resolution(recipe)
