"""Time that work may take. Whoever sets a deadline is told at the next place where the work can end; none in between need
know of it."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic

_UNTIL: ContextVar[tuple[float, str]] = ContextVar("until", default=(math.inf, ""))


class OutOfTime(Exception):
    """A deadline has passed; the text is the reason that was given with it."""


@contextmanager
def deadline(seconds: float, reason: str) -> Iterator[None]:
    """Within the block `check_time` raises after so many seconds; inside another deadline, the earlier of the two holds.

    Example:
        >>> from pyg_diffusion.deadline import check_time, deadline
        >>> with deadline(0, "no time at all"):
        ...     check_time()
        Traceback (most recent call last):
        ...
        pyg_diffusion.deadline.OutOfTime: no time at all
    """
    own = (monotonic() + seconds, reason)
    token = _UNTIL.set(min(own, _UNTIL.get(), key=lambda until: until[0]))
    try:
        yield
    finally:
        _UNTIL.reset(token)


def check_time() -> None:
    """To be called where work can end.

    Raises:
        OutOfTime: there is a deadline, and it has passed.
    """
    until, reason = _UNTIL.get()
    if until < math.inf and monotonic() >= until:
        raise OutOfTime(reason)


def is_limited() -> bool:
    """Whether there is a deadline: then work that cannot be asked on the way is better done in pieces."""
    return _UNTIL.get()[0] < math.inf


class Allowance:
    """Seconds that each of several things may take, together or one after the other.

    Args:
        seconds: of each.
        reason: why one that has taken them is given up.

    Attributes:
        spent: seconds so far, by the number of each.
    """

    def __init__(self, seconds: float = math.inf, reason: str = ""):
        self.seconds, self.reason = seconds, reason
        self.spent: defaultdict[int, float] = defaultdict(float)

    def out(self, key: int) -> bool:
        """Whether it has taken all that it may."""
        return self.spent[key] >= self.seconds if self.seconds < math.inf else False

    @contextmanager
    def __call__(self, shares: Mapping[int, float]) -> Iterator[None]:
        """Work on some at once, which each has its share in. It ends by `OutOfTime` when none of them has time left."""
        if self.seconds == math.inf or not shares:
            yield
            return
        total, start = sum(shares.values()), monotonic()
        left = max((self.seconds - self.spent[key]) * total / share for key, share in shares.items())
        try:
            with deadline(left, self.reason):
                yield
        finally:
            took = monotonic() - start
            for key, share in shares.items():
                self.spent[key] += took * share / total


UNLIMITED = Allowance()
