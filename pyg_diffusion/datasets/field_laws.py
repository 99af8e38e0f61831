r"""Laws of synthetic fields on grids: one function per law, `LAWS` names them.

A law draws one field, `law(grid, channels, rng, **parameters) -> [N, C]` float64, with all its randomness from `rng`.
Lengths are in the units of `pos`, index times spacing. `channels=None` takes what is natural for the law. On a cycle of
length ℓ = n h the distance from a centre is the periodic (ℓ/π) |sin(πΔ/ℓ)|, which is smooth, where a path has |Δ|.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..spectral import GridOperator, Kernel, heat


def matern_spectrum(grid: GridOperator, amplitude: float = 1.0, length: float = 3.0, nu: float = 1.5) -> Kernel:
    r"""p(λ) = E|Ŝ₀|² of `matern`, in closed form: p = a² c (κ² + λ)^{-ν - d/2}, κ = √(2ν) / length.

    c makes the mean of p over the grid's modes a², so a² is the variance at a node (its mean over nodes, on a path).
    Whittle 1954; Lindgren, Rue and Lindström 2011.
    """
    kappa2, power = 2 * nu / length**2, -nu - len(grid.shape) / 2

    def shape(lam: Tensor) -> Tensor:
        return (1 + lam / kappa2) ** power

    scale = amplitude**2 / shape(grid.eigenvalues[:1].double()).mean().item()
    return lambda lam: scale * shape(lam)


def matern(
    grid: GridOperator,
    channels: int | None,
    rng: np.random.Generator,
    *,
    amplitude: float = 1.0,
    length: float = 3.0,
    nu: float = 1.5,
) -> Tensor:
    """Gaussian random field N(0, p(L)) in every channel (1 by default), p = `matern_spectrum`. Any grid."""
    p = matern_spectrum(grid, amplitude, length, nu)
    return grid.apply(lambda lam: p(lam).sqrt(), torch.from_numpy(rng.standard_normal((grid.num_nodes, channels or 1))))


def direction(grid: GridOperator, channels: int | None, rng: np.random.Generator, *, length: float = 3.0) -> Tensor:
    """S = g/|g|, g a Matérn field (ν = 3/2) in every channel (3 by default): |S| = 1, and a defect wherever g has a zero.

    2 channels on 2 axes have vortices of winding number ±1, 3 on 3 hedgehogs, 1 channel domains of ±1. Any grid.
    """
    g = matern(grid, channels or 3, rng, length=length)
    directions: Tensor = g / g.norm(dim=1, keepdim=True)
    return directions


def flow(
    grid: GridOperator,
    channels: int | None,
    rng: np.random.Generator,
    *,
    vortices: int = 3,
    strength: float = 1.0,
    core: float = 2.0,
) -> Tensor:
    r"""S = curl A, A = Σ_i ± U r_c √e exp(-r_i²/2r_c²) n_i: vortices of peak speed U (`strength`) and core radius r_c.

    Centres and signs are random. 2 channels (the default on 2 axes): n = e_z, A is the stream function, S = (∂_y A, -∂_x A).
    3 channels (on 1, 2 or 3 axes; derivatives along axes the grid has not are 0): n uniform on the sphere. The derivatives
    are `difference`, which commute, so `divergence` of S is 0 to rounding. Paths and cycles.
    """
    d = len(grid.shape)
    channels = channels or (2 if d == 2 else 3)
    if d > 3 or not (channels == 3 or channels == d == 2):
        raise ValueError(f"flow has 3 channels on up to 3 axes, or 2 on 2 axes; got {channels} on {d}")
    axes = np.tile([0.0, 0.0, 1.0], (vortices, 1)) if channels == 2 else rng.standard_normal((vortices, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    potential = torch.zeros(grid.num_nodes, 3, dtype=torch.float64)
    for axis, centre, sign in zip(axes, _centres(grid, vortices, rng), _signs(vortices, rng), strict=True):
        r2, _ = _distances(grid, centre)
        bell = sign * strength * core * torch.exp(0.5 - r2 / (2 * core**2))
        potential += bell[:, None] * torch.from_numpy(axis)
    part = [difference(grid, potential, a) if a < d else torch.zeros_like(potential) for a in range(3)]
    curl = [part[(a + 1) % 3][:, (a + 2) % 3] - part[(a + 2) % 3][:, (a + 1) % 3] for a in range(channels)]
    return torch.stack(curl, 1)


def vortices(
    grid: GridOperator,
    channels: int | None,
    rng: np.random.Generator,
    *,
    count: int = 1,
    strength: float = 1.0,
    core: float = 1.5,
    jet: float = 1.0,
) -> Tensor:
    r"""Batchelor (q-) vortices, 3-vectors on 2 axes: swirl of peak speed U (`strength`) and an axial jet W (`jet`),

        S = Σ_i (±U √e/r_c · (Δ_y, -Δ_x), W) exp(-r_i²/2r_c²),

    with random centres and senses of rotation, evaluated and not differenced, so that a 5x5 grid is enough. Channels: 3.
    """
    if len(grid.shape) != 2 or channels not in (None, 3):
        raise ValueError(f"vortices are 3-vectors on 2 axes; got channels={channels} on {len(grid.shape)}")
    field = torch.zeros(grid.num_nodes, 3, dtype=torch.float64)
    for centre, sign in zip(_centres(grid, count, rng), _signs(count, rng), strict=True):
        r2, delta = _distances(grid, centre)
        swirl = sign * strength * math.exp(0.5) / core
        part = torch.stack([swirl * delta[:, 1], -swirl * delta[:, 0], torch.full_like(r2, jet)], 1)
        field += part * torch.exp(-r2 / (2 * core**2))[:, None]
    return field


def advection(
    grid: GridOperator,
    channels: int | None,
    rng: np.random.Generator,
    *,
    blobs: int = 2,
    amplitude: float = 1.0,
    radius: float = 4.0,
    width: float = 1.0,
    diffusivity: float = 0.1,
    speed: float = 1.0,
    time: float = 3.0,
) -> Tensor:
    r"""Snapshots of ∂S/∂t = -v·∇S - D L S, channel c of C (1 by default) at time (c + 1)/C · `time`: exactly,

        S(t) = exp(-D t L) exp(-t v·∇) S(0),  S(0) = Σ_i ± a/2 (1 - tanh((r_i - R)/w)),

    blobs of radius R with a front of `width` w at random centres. v has a random direction along the cycles and `speed`;
    nothing flows along paths, whose ends are closed. ∇ is spectral (FFT). Paths and cycles.
    """
    _positions(grid)  # refuses what has no lengths
    start = torch.zeros(grid.num_nodes, dtype=torch.float64)
    for centre, sign in zip(_centres(grid, blobs, rng), _signs(blobs, rng), strict=True):
        start += sign * amplitude / 2 * (1 - torch.tanh((_distances(grid, centre)[0].sqrt() - radius) / width))
    velocity = rng.standard_normal(len(grid.shape)) * [kind == "cycle" for kind in grid.kinds]
    velocity *= speed / max(float(np.linalg.norm(velocity)), 1e-300)
    phase = torch.zeros((), dtype=torch.float64)
    for n, h, v in zip(grid.shape, grid.spacing, velocity, strict=True):
        phase = phase[..., None] + 2 * math.pi * v * torch.fft.fftfreq(n, h, dtype=torch.float64)
    spectrum, snapshots = torch.fft.fftn(start.view(grid.shape)), []
    count = channels or 1
    for c in range(1, count + 1):
        t = c / count * time
        moved = torch.fft.ifftn(spectrum * torch.exp(-1j * t * phase)).real.reshape(-1, 1)
        snapshots.append(grid.apply(heat(diffusivity * t), moved))
    return torch.cat(snapshots, 1)


def difference(grid: GridOperator, x: Tensor, axis: int) -> Tensor:
    """∂x/∂(axis) of `x [N, C]`: central differences; on a path one-sided at the ends. Those of two axes commute."""
    n, h, kind = grid.shape[axis], grid.spacing[axis], grid.kinds[axis]
    if kind == "complete":
        raise ValueError("a complete graph has no derivative along it; use path or cycle")
    x = x.reshape(*grid.shape, -1).movedim(axis, 0)
    if kind == "cycle":
        out = (x.roll(-1, 0) - x.roll(1, 0)) / (2 * h)
    elif n == 1:
        out = torch.zeros_like(x)
    else:
        out = torch.cat([x[1:2] - x[:1], (x[2:] - x[:-2]) / 2, x[-1:] - x[-2:-1]]) / h
    return out.movedim(0, axis).reshape(grid.num_nodes, -1)


def divergence(grid: GridOperator, x: Tensor) -> Tensor:
    """Σ_a ∂x_a/∂(axis a) of `x [N, C >= d]` by `difference`, `[N]`."""
    d = len(grid.shape)
    if x.size(1) < d:
        raise ValueError(f"a divergence on {d} axes needs {d} channels, got {x.size(1)}")
    return torch.stack([difference(grid, x[:, [a]], a)[:, 0] for a in range(d)]).sum(0)


def _positions(grid: GridOperator) -> Tensor:
    """`pos [N, d]`, float64."""
    if "complete" in grid.kinds:
        raise ValueError("this law needs lengths, which a complete graph has not; use path or cycle")
    axes = [torch.arange(n, dtype=torch.float64) * h for n, h in zip(grid.shape, grid.spacing, strict=True)]
    return torch.cartesian_prod(*axes).view(-1, len(axes))


def _distances(grid: GridOperator, centre: Sequence[float]) -> tuple[Tensor, Tensor]:
    """r² `[N]` of every node from the centre, and ½∇r² `[N, d]`, which on a path is the displacement."""
    delta = _positions(grid) - torch.as_tensor(centre)
    squares = delta.square()
    for a, (n, h, kind) in enumerate(zip(grid.shape, grid.spacing, grid.kinds, strict=True)):
        if kind == "cycle":
            angle = math.pi * delta[:, a] / (n * h)
            squares[:, a] = (n * h / math.pi * torch.sin(angle)).square()
            delta[:, a] = n * h / (2 * math.pi) * torch.sin(2 * angle)
    return squares.sum(1), delta


def _centres(grid: GridOperator, count: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform over the cells of the grid, `[count, d]`."""
    return (rng.random((count, len(grid.shape))) * grid.shape - 0.5) * grid.spacing


def _signs(count: int, rng: np.random.Generator) -> np.ndarray:
    return rng.choice([-1.0, 1.0], count)


LAWS: dict[str, Callable[..., Tensor]] = {law.__name__: law for law in (matern, flow, vortices, advection, direction)}
