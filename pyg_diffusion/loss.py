"""Training objectives of a denoiser."""

from torch import Tensor

from .denoise import Denoiser, network_target
from .spectral import LaplacianOperator


def denoising_loss(
    denoiser: Denoiser,
    operator: LaplacianOperator,
    x_0: Tensor,
    noise: Tensor,
    t: Tensor,
    context=None,
    stage_weight: float = 0.25,
) -> Tensor:
    """Mean squared error of F, one value per graph: E over modes (or nodes, by Parseval) and channels of ‖F - F*‖².

    It is the preconditioned x₀ error, so an untrained network starts near 1 at every time and mode.

    Args:
        x_0, noise: signal and white noise, `[num_nodes, C]`.
        t: `[num_graphs, 1]`.
        stage_weight: weight of the intermediate estimates of a network that has stages.

    Returns:
        `[num_graphs]`; graphs without a free mode (a single centered atom) give 0.
    """
    s_0, eps = (denoiser.project(operator, operator.to_work(x)) for x in (x_0, noise))
    parts = denoiser.parts(t)
    s_t = operator.combine((parts.phi, s_0), (parts.sigma, eps))
    on_s_0, on_eps = network_target(parts)
    target = operator.combine((on_s_0, s_0), (on_eps, eps))
    count = (operator.sizes - int(denoiser.centered)).clamp_min(1) * x_0.size(-1)
    stages = denoiser.estimates(operator, s_t, t, parts, context)
    *early, last = [operator.square_sum(f - target) / count for f in stages]
    total = last
    for loss in early:
        total = total + stage_weight * loss
    return total
