"""What a server takes on."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds that hold for every client alike.

    Attributes:
        body: bytes of a request; more is 413.
        molecules: of a request, stereoisomers counted; more is 422, and so are the next two.
        atoms: of a molecule, with hydrogens.
        conformers: of a request.
        queue: requests that wait or run; one more is 429.
        seconds: from a request's arrival to its answer; what is not done then is given up, 503.
        kept: finished jobs whose results are kept, the latest.
        kept_bytes: of their results together.
    """

    body: int = 2_000_000
    molecules: int = 100
    atoms: int = 200
    conformers: int = 1000
    queue: int = 64
    seconds: float = 300.0
    kept: int = 200
    kept_bytes: int = 100_000_000
