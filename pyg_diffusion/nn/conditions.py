"""What is asked of a graph, its nodes or its edges."""

from copy import copy

import torch
from torch import Tensor, nn

from ..network import Context

CONDITIONS = ("condition", "node_condition", "edge_condition")


class Conditions(nn.Module):
    """Continuous conditions as pairs: the standardised value (0 where nothing is asked), and whether anything is.

    Args:
        size: K, how many there are.
        name: the attribute they are read from, for messages.

    Buffers `mean` and `std`, `[K]`, standardise; training sets them. `[rows, K] -> [rows, 2K]`, NaN or None: nothing asked.

    Raises:
        ValueError: values of another shape.

    Example:
        >>> import torch
        >>> from pyg_diffusion.nn import Conditions
        >>> asked = Conditions(1)
        >>> asked.set(torch.tensor([2.0]), torch.tensor([0.5]))
        >>> asked(torch.tensor([[3.0], [torch.nan]]), 2)
        tensor([[2., 1.],
                [0., 0.]])
    """

    def __init__(self, size: int, name: str = "condition"):
        super().__init__()
        self.size, self.name = size, name
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))

    def set(self, mean: Tensor, std: Tensor) -> None:
        """What to standardise by, `[K]` each."""
        if len(mean) != self.size:
            raise ValueError(f"this network takes {self.size} of {self.name}, got {len(mean)}")
        self.mean.copy_(mean)
        self.std.copy_(std)

    def forward(self, values: Tensor | None, rows: int) -> Tensor:
        if values is None or not self.size:  # data may hold what a network was not made to read
            return self.mean.new_zeros(rows, 2 * self.size)
        if values.shape != (rows, self.size):
            raise ValueError(
                f"{self.name} must be [{rows}, {self.size}], with NaN where nothing is asked; got {list(values.shape)}"
            )
        known = values.isfinite()
        value = torch.where(known, (values.to(self.mean) - self.mean) / self.std, 0.0)
        return torch.cat([value, known.to(value)], dim=1)


def without_condition(context: Context) -> Context:
    """The same graphs (a `Data` or `Batch`) with nothing asked of them, for classifier-free guidance. The original stays.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from pyg_diffusion.nn import without_condition
        >>> without_condition(Data(x=torch.ones(2, 1), condition=torch.ones(1, 3)))
        Data(x=[2, 1])
    """
    free = copy(context)
    for name in CONDITIONS:
        if name in free:
            del free[name]
    return free
