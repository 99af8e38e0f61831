"""GridFields: synthetic physical fields on grids, of laws that are known."""

import inspect
import math
import os
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from ..data import grid_graph
from ..spectral import GridOperator
from .field_laws import LAWS
from .one_graph import OneGraphDataset

SPLITS = ("train", "val", "test", "reference")
VERSION = 1  # of the laws: a change of what they draw makes old files stale


class GridFields(OneGraphDataset):
    r"""Fields of a known law on one grid: every item is the graph of `grid_graph` with

    - `x [N, C]`: the field, float32;
    - `condition [1, K]`: the parameters drawn for this sample, named in `condition_names`; absent where K = 0.

    | law | field | channels | grids | parameters |
    |---|---|---|---|---|
    | "matern" | Gaussian, p(λ) ∝ (κ² + λ)^{-ν - d/2} | any (1) | all | amplitude, length, nu |
    | "flow" | divergence-free, curl of a sum of vortices | 2 on 2 axes, else 3 | path, cycle | vortices, strength, core |
    | "vortices" | swirl and jet, 3-vectors on small grids | 3 on 2 axes | path, cycle | count, strength, core, jet |
    | "advection" | blobs that drift and diffuse | any (1): as many times | path, cycle | blobs, amplitude, radius, width, \
      diffusivity, speed, time |
    | "direction" | unit vectors with defects | any (3) | all | length |

    `field_laws` has the formulas; "matern" has its spectrum in closed form there. A parameter is a number, or a pair
    (low, high) to draw it from anew for every sample (uniformly; integers where the default is one): then it is a condition.

    Sample k depends on (seed, split, k) and the law alone: a larger `num_samples` extends a smaller one, and the splits are
    independent of each other whatever the seeds and sizes. All items share one graph; do not change it in place.

    Args:
        root: folder; each set of arguments has a folder of its own in `root/processed/`, so a cache is never stale.
        law, shape, num_samples, seed, channels: see above. `channels=None` takes the law's own number.
        split: "train", "val", "test" or "reference".
        kinds, spacing: of the grid's axes, as for `grid_graph`.
        transform, pre_transform, pre_filter, force_reload: as for every PyG dataset.
        parameters: of the law.

    Raises:
        ValueError: naming the argument that no law or grid has.

    Example:
        >>> import tempfile
        >>> from pyg_diffusion.datasets import GridFields
        >>> with tempfile.TemporaryDirectory() as root:
        ...     fields = GridFields(root, "matern", (8, 8), num_samples=4, amplitude=(0.5, 2.0))
        ...     len(fields), fields[0].x.shape, fields.condition_names
        (4, torch.Size([64, 1]), ('amplitude',))
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        law: str = "matern",
        shape: Sequence[int] = (32, 32),
        num_samples: int = 1000,
        seed: int = 0,
        split: str = "train",
        channels: int | None = None,
        kinds: str | Sequence[str] = "cycle",
        spacing: float | Sequence[float] = 1.0,
        transform: Callable[[Data], Any] | None = None,
        pre_transform: Callable[[Data], Data] | None = None,
        pre_filter: Callable[[Data], bool] | None = None,
        force_reload: bool = False,
        **parameters: float | Sequence[float],
    ):
        if law not in LAWS:
            raise ValueError(f"law must be one of {', '.join(LAWS)}; got {law!r}")
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}; got {split!r}")
        for name, value, least in (("num_samples", num_samples, 0), ("seed", seed, 0), ("channels", channels, 1)):
            if value is not None and (not isinstance(value, Integral) or value < least):
                raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")
        self.law, self.num_samples, self.seed, self.split = law, int(num_samples), int(seed), split
        self.channels = None if channels is None else int(channels)
        self.parameters = _checked(law, parameters)
        graph = grid_graph(shape, kinds, spacing)
        self.condition_names = tuple(name for name, value in self.parameters.items() if isinstance(value, tuple))
        key = {
            "version": VERSION,
            "law": [law, self.parameters, self.channels],
            "grid": [graph[name].tolist() for name in ("grid_shape", "grid_kind", "grid_spacing")],
            "samples": [self.seed, split, self.num_samples],
        }
        # The grid and its parameters are sound from here on; whether they fit each other the law says at its first draw.
        steps = tuple(spacing) if isinstance(spacing, Sequence) else spacing
        self._grid = GridOperator(graph.grid_shape[0].tolist(), kinds, steps, dtype=torch.float64)
        self._draw(0)
        super().__init__(root, graph, f"{law}-{split}", key, transform, pre_transform, pre_filter, force_reload)

    @property
    def fields(self) -> Tensor:
        """All fields of this (part of the) dataset as the law drew them, `[S, N, C]`."""
        return self.stacked("x")

    @property
    def conditions(self) -> Tensor:
        """The parameters drawn for them, `[S, K]`."""
        return self.stacked("condition")

    def _draw(self, k: int) -> tuple[Tensor, list[float]]:
        """Sample k and the parameters drawn for it."""
        rng = np.random.default_rng([self.seed, SPLITS.index(self.split), k])
        values, defaults = dict(self.parameters), _defaults(self.law)
        for name in self.condition_names:
            low, high = values[name]
            values[name] = int(rng.integers(low, high + 1)) if isinstance(defaults[name], int) else rng.uniform(low, high)
        return LAWS[self.law](self._grid, self.channels, rng, **values), [values[name] for name in self.condition_names]

    def item(self, **row: Tensor) -> Data:
        condition = row["condition"]
        return self.on_graph(x=row["x"], **({"condition": condition[None]} if condition.numel() else {}))

    def draw_all(self) -> dict[str, Tensor]:
        channels = self._draw(0)[0].size(1)
        fields = torch.empty(self.num_samples, self._grid.num_nodes, channels)
        conditions = torch.empty(self.num_samples, len(self.condition_names))
        for k in range(self.num_samples):
            x, drawn = self._draw(k)
            fields[k], conditions[k] = x, torch.tensor(drawn)
        if not bool(torch.isfinite(fields).all()):
            raise ValueError(f"the law {self.law!r} gives fields that are not finite with {self.parameters}")
        return {"x": fields, "condition": conditions}


def _defaults(law: str) -> dict[str, float]:
    """The parameters of a law."""
    return {name: p.default for name, p in inspect.signature(LAWS[law]).parameters.items() if p.kind is p.KEYWORD_ONLY}


def _checked(law: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """All parameters of the law, in its order: a number each, or a pair (low, high)."""
    defaults = _defaults(law)
    unknown = sorted(set(parameters) - set(defaults))
    if unknown:
        raise ValueError(f"the law {law!r} has no {', '.join(unknown)}; it has {', '.join(defaults)}")
    checked: dict[str, Any] = {}
    for name, default in defaults.items():
        value: Any = parameters.get(name, default)
        pair = isinstance(value, Sequence) and not isinstance(value, str)
        numbers: Any = tuple(value) if pair else (value,)
        whole = isinstance(default, int)
        kind = "an integer" if whole else "a number"
        sound = all(isinstance(v, Integral if whole else Real) and math.isfinite(v) and float(v) >= 0 for v in numbers)
        if not sound or (pair and (len(numbers) != 2 or numbers[0] > numbers[1])):
            raise ValueError(f"{name} must be {kind} >= 0 or a pair low <= high of them, got {value!r}")
        if not whole and name in ("length", "nu", "core", "width") and numbers[0] == 0:
            raise ValueError(f"{name} must be > 0, got {value!r}")
        numbers = tuple(int(v) if whole else float(v) for v in numbers)
        checked[name] = numbers if pair else numbers[0]
    return checked
