"""The call of a function with a backward of its own, typed: torch's `Function.apply` is not."""

from typing import Any

from torch import Tensor
from torch.autograd import Function


def call(function: type[Function], *args: Any) -> Tensor:
    """`function.apply(*args)`, for functions with one result."""
    out: Tensor = function.apply(*args)
    return out
