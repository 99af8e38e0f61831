"""Which geometries of a molecule may be given out: finite, of the stereo asked for, sound; and why the others may not."""

from dataclasses import dataclass, field

import numpy as np

from ..data.molecule import Molecule
from .soundness import Soundness, reason
from .stereo import Stereo, check_stereo


@dataclass
class Acceptance:
    """Judges geometries of one molecule and remembers what it saw.

    Attributes:
        molecule: its graph and the stereo asked for.
        wrong_stereo: how many sound geometries had the wrong stereo.
        unsound: how many of the right stereo were unsound.
        miss: the words for the nearest miss of right stereo, "" before there is one.
    """

    molecule: Molecule
    wrong_stereo: int = 0
    unsound: int = 0
    miss: str = ""
    _nearest: float = field(default=np.inf, repr=False)

    def __post_init__(self) -> None:
        self.stereo = Stereo(self.molecule.tetra, self.molecule.ez, self.molecule.ez_type)
        self.gate = Soundness(self.molecule)

    def right(self, pos: np.ndarray) -> np.ndarray:
        """Whether geometries `[K, N, 3]` are finite and of the stereo asked for, `[K]`."""
        finite = np.isfinite(pos).all((1, 2))
        return finite & check_stereo(self.stereo, np.where(finite[:, None, None], pos, 0.0))

    def __call__(self, pos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(of right stereo, how far beyond the bounds of soundness), `[K]` each, of geometries `[K, N, 3]`; 0 if sound."""
        right, excess = self.right(pos), self.gate.excess(pos)
        self.wrong_stereo += int((~right & (excess == 0)).sum())
        self.unsound += int((right & (excess > 0)).sum())
        beyond = np.where(right & (excess > 0), excess, np.inf)
        if len(pos) and beyond.min() < self._nearest:
            self._nearest, self.miss = float(beyond.min()), self.words(pos[beyond.argmin()])
        return right, excess

    def no_worse(self, pos: np.ndarray, before: np.ndarray) -> bool:
        """Whether a geometry `[N, 3]` is of the right stereo, and sound or nearer to it than what was there."""
        excess = self.gate.excess(np.stack([pos, before]))
        return bool(self.right(pos[None])[0] and (excess[0] == 0 or excess[0] < excess[1]))

    def words(self, pos: np.ndarray) -> str:
        """What is unsound about a geometry `[N, 3]`, "" if nothing."""
        return reason(self.gate.faults(pos[None])[0])

    def refusal(self, attempts: int) -> str:
        """Why there is no conformer after so many draws of each."""
        tried = f"in {attempts} attempts" if attempts > 1 else "in one attempt"
        specified = len(self.stereo.tetra) + len(self.stereo.ez) > 0
        if not self.miss:
            return f"no {'conformer of right stereo' if specified else 'finite coordinates'} {tried}"
        asked = " of the stereo asked for" if specified else ""
        return f"no sound conformer{asked} {tried}: {self.miss}"
