"""EnergyNet: a scalar energy per graph, whose gradient predicts ε."""

import torch
from torch import Tensor

from ..network import Context, Network, Noisy
from ..spectral import LaplacianOperator
from .base import NetworkBase


class EnergyNet(NetworkBase):
    r"""ε̂ = ∂E/∂S_t of the energy E(S_t, t | context) = ½ ‖f(S_t, t | context)‖², summed over the nodes of a graph.

    Trained on ε it approaches E* = ½ (S_t - φ S_0)ᵀ σ⁻¹ (S_t - φ S_0), whose gradient is ε and whose minimum is φ S_0
    (Du, Mao and Tenenbaum 2024). A step S_t - σ ∂E/∂S_t on it is exact, whatever the noise.

    Args:
        net: f, called as `net(noisy, operator, context)`, returns features `[num_nodes, K]`. It may read the noisy signal
            and its time alone: E is a function of S_t, so `skip` and `white` are S_t itself here, and the kernels are 1.

    Example:
        >>> import torch
        >>> from pyg_diffusion.data import laplacian_operator
        >>> from pyg_diffusion.datasets import matrix_data
        >>> from pyg_diffusion.nn import EnergyNet, MatrixNet
        >>> data = matrix_data(2 * torch.eye(3))
        >>> net, L = EnergyNet(MatrixNet(depth=1)), laplacian_operator(data)
        >>> energy, slope = net.slope(data.x, torch.zeros(1, 1), L, data.matrix)
        >>> energy.shape, slope.shape
        (torch.Size([1]), torch.Size([9, 1]))
    """

    predicts = "eps"

    net: Network

    def __init__(self, net: Network):
        super().__init__()
        self.net, self.levels = net, net.levels

    def encode(self, context: Context, operator: LaplacianOperator) -> Context:
        """The context as f reads it."""
        return self.net.encode(context, operator)

    def without_condition(self, context: Context) -> Context:
        """The context as f reads it with nothing asked."""
        return self.net.without_condition(context)

    def set_conditions(self, mean: Tensor, std: Tensor) -> None:
        """What f standardises its conditions by, `[K]` each."""
        self.net.set_conditions(mean, std)

    def energy(self, signal: Tensor, log_tau: Tensor, operator: LaplacianOperator, context: Context = None) -> Tensor:
        """E, `[num_graphs]`, of `signal [num_nodes, C]` at `log_tau [num_graphs, 1]`; `context` or its `encode`."""
        noisy = Noisy(signal, signal, signal, torch.ones_like, log_tau, torch.ones_like)
        features = self.net(noisy, operator, context)
        assert isinstance(features, Tensor)
        return 0.5 * operator.graph_sum(features.square()).sum(1)

    def slope(
        self, signal: Tensor, log_tau: Tensor, operator: LaplacianOperator, context: Context = None
    ) -> tuple[Tensor, Tensor]:
        """(E `[num_graphs]`, ∂E/∂S_t `[num_nodes, C]`), without second derivatives and without gradients of parameters."""
        with torch.enable_grad():
            signal = signal.detach().requires_grad_()
            energy = self.energy(signal, log_tau, operator, context)
            (gradient,) = torch.autograd.grad(energy.sum(), signal)
        return energy.detach(), gradient

    def forward(self, noisy: Noisy, operator: LaplacianOperator, context: Context = None) -> Tensor:
        """ε̂ `[num_nodes, C]`. It has derivatives of its own where gradients are enabled, as in training, and only there."""
        if not torch.is_grad_enabled():
            return self.slope(noisy.signal, noisy.log_tau, operator, context)[1]
        signal = noisy.signal if noisy.signal.requires_grad else noisy.signal.detach().requires_grad_()
        energy = self.energy(signal, noisy.log_tau, operator, context).sum()
        return torch.autograd.grad(energy, signal, create_graph=True)[0]
