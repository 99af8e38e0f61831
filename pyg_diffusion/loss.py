"""Training objectives of a denoiser."""

from torch import Tensor

from .denoise import Denoiser, network_target
from .spectral import ExactOperator


def denoising_loss(
    denoiser: Denoiser,
    operator: ExactOperator,
    x_0: Tensor,
    noise: Tensor,
    t: Tensor,
    context=None,
    stage_weight: float = 0.25,
) -> Tensor:
    """Mean squared error of F in mode space, one value per graph: E over modes and channels of ‖F - F*‖².

    It is the preconditioned x₀ error, so an untrained network starts near 1 at every time and mode.

    Args:
        x_0, noise: signal and white noise, `[num_nodes, C]`.
        t: `[num_graphs, 1]`.
        stage_weight: weight of the intermediate estimates of a network that has stages.

    Returns:
        `[num_graphs]`; graphs without a free mode (a single centered atom) give 0.
    """
    s_0, eps = denoiser.project(operator.to_modes(x_0)), denoiser.project(operator.to_modes(noise))
    parts = denoiser.parts(operator, t)
    s_t = parts.phi * s_0 + parts.sigma * eps
    target = network_target(parts, s_0, eps)
    count = (operator.mode_mask.sum(1) - int(denoiser.centered)).clamp_min(1) * x_0.size(-1)
    *early, last = [(f - target).square().sum((1, 2)) / count for f in denoiser.estimates(operator, s_t, t, parts, context)]
    total = last
    for loss in early:
        total = total + stage_weight * loss
    return total
