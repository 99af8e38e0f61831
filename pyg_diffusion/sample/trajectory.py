"""Paths of samples, kept in bounded memory: S_t and D at chosen moments."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..denoise import Denoiser, Parts
from ..spectral import ExactOperator, LaplacianOperator
from .guidance import Steered
from .sampler import Moment

MOST_FRAMES = 1_000
MOST_NUMBERS = 50_000_000  # of S_t and D, all signals of a call together: 200 MB


@dataclass
class Trajectory:
    """The path of one signal, in single precision, on the CPU.

    Attributes:
        t, tau: times of the frames, `[F]`.
        signal, denoised: S_t and D(S_t, t), `[F, N, C]`.
        eigenvalues: of the modes, `[M]`, where the operator knows them.
        snr: φ²p/σ² of every mode at every frame, mean over channels, `[F, M]`; likewise.

    Example:
        >>> from pyg_diffusion.sample import Ancestral, Recorder, Recording, time_grid
        >>> from pyg_diffusion.testing import gaussian_example
        >>> denoiser, L, noise = gaussian_example()
        >>> recorder = Recorder(Recording(3), denoiser, L, moments=11)
        >>> made = Ancestral().sample(denoiser, L, time_grid(10), noise, watch=recorder)
        >>> (path,) = recorder.trajectories()
        >>> path.t, path.signal.shape
        (tensor([1.0000, 0.5000, 0.0000]), torch.Size([3, 6, 2]))
    """

    t: Tensor
    tau: Tensor
    signal: Tensor
    denoised: Tensor
    eigenvalues: Tensor | None = None
    snr: Tensor | None = None


@dataclass(frozen=True)
class Recording:
    """What to keep of paths.

    Args:
        frames: at most so many, the first and the last among them, even in the sampler's steps; None keeps every step.

    Raises:
        ValueError: more than are kept, or fewer than 2.

    Example:
        >>> from pyg_diffusion.sample import Recording
        >>> Recording(1_000_000)
        Traceback (most recent call last):
        ...
        ValueError: a trajectory holds 2 to 1,000 frames, got 1,000,000
    """

    frames: int | None = None

    def __post_init__(self) -> None:
        if self.frames is not None and not 2 <= self.frames <= MOST_FRAMES:
            raise ValueError(f"a trajectory holds 2 to {MOST_FRAMES:,} frames, got {self.frames:,}")

    def kept(self, moments: int | None) -> int:
        """Frames of so many moments; the least there can be where their number is not known."""
        most = moments if self.frames is None else self.frames
        return 1 if most is None else min(most, moments or most)

    def check(self, numbers: int, frames: int) -> None:
        """Whether there is room for so many frames, of so many numbers each, those of S_t and of D counted once.

        Raises:
            ValueError: there is none.
        """
        if frames > MOST_FRAMES:
            raise ValueError(
                f"a trajectory holds at most {MOST_FRAMES:,} frames, and this one would have {frames:,}; ask for fewer"
            )
        if 2 * numbers * frames > MOST_NUMBERS:
            raise ValueError(
                f"trajectories hold at most {MOST_NUMBERS:,} numbers in all, and these would have {2 * numbers * frames:,}; "
                "ask for fewer frames or fewer samples"
            )

    def chosen(self, moments: int) -> list[int]:
        """Which of so many."""
        if self.frames is None or moments <= self.frames:
            return list(range(moments))
        return [round(k * (moments - 1) / (self.frames - 1)) for k in range(self.frames)]


class Recorder:
    """Keeps what a batch's path shows (`Sampler.sample`, `watch`).

    Args:
        record: what of it.
        denoiser, operator: that are sampled with.
        moments: of the path, None where that is not known beforehand: then all are kept until its end.

    Example:
        >>> from pyg_diffusion.sample import Exponential, Recorder, Recording, time_grid
        >>> from pyg_diffusion.testing import gaussian_example
        >>> denoiser, L, noise = gaussian_example()
        >>> recorder = Recorder(Recording(), denoiser, L, moments=5)
        >>> made = Exponential(2).sample(denoiser, L, time_grid(4), noise, watch=recorder)
        >>> bool((recorder.trajectories()[0].denoised[-1] == made).all())  # the last estimate is the sample
        True
    """

    def __init__(self, record: Recording, denoiser: Denoiser | Steered, operator: LaplacianOperator, moments: int | None):
        self.record, self.denoiser, self.operator = record, denoiser, operator
        self.wanted = None if moments is None else set(record.chosen(moments))
        self.seen = 0
        self.frames: list[tuple[float, float, Tensor, Tensor, Tensor | None]] = []

    def __call__(self, moment: Moment) -> None:
        self.seen += 1
        if self.wanted is not None and self.seen - 1 not in self.wanted:
            return
        x, d = (self.operator.from_work(w).float().cpu() for w in (moment.signal, moment.denoised))
        tau = float(self.denoiser.sde.schedule.tau(moment.t))
        self.frames.append((float(moment.t), tau, x, d, _snr(self.operator, self.denoiser.parts(moment.t))))
        self.record.check(x.numel(), len(self.frames))

    def trajectories(self) -> list[Trajectory]:
        """Of every graph."""
        kept = self.frames if self.wanted is not None else [self.frames[k] for k in self.record.chosen(len(self.frames))]
        t, tau = (torch.tensor([frame[k] for frame in kept]) for k in (0, 1))
        sizes: Sequence[int] = self.operator.sizes.tolist()
        x, d = torch.stack([frame[2] for frame in kept]), torch.stack([frame[3] for frame in kept])
        parts = zip(x.split(sizes, 1), d.split(sizes, 1), strict=True)
        out = [Trajectory(t, tau, s.clone(), e.clone()) for s, e in parts]
        if isinstance(self.operator, ExactOperator):
            snr = torch.stack([frame[4] for frame in kept if frame[4] is not None])
            for k, own in enumerate(out):
                mask = self.operator.mode_mask[k]
                own.eigenvalues = self.operator.eigenvalues[k][mask].float().cpu()
                own.snr = snr[:, k, mask.cpu()]
        return out


def _snr(operator: LaplacianOperator, parts: Parts) -> Tensor | None:
    """φ²p/σ² `[num_graphs, M]`."""
    if not isinstance(operator, ExactOperator):
        return None
    ratio = operator.response(lambda lam: parts.phi(lam) ** 2 * parts.power(lam) / parts.sigma(lam) ** 2)
    return ratio.mean(-1).expand(operator.eigenvalues.shape).float().cpu()
