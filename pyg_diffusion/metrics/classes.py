"""How good are signals that have classes? A classifier's word, and the Fréchet distance in its features."""

from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

HIDDEN = 64  # features


def has_judge() -> bool:
    """Whether there is a scikit-learn to classify with."""
    return find_spec("sklearn") is not None


class Judge:
    """A perceptron of one hidden layer (scikit-learn's), fitted to signals whose classes are known.

    Args:
        x: `[S, N, C]`.
        classes: of each, `[S]`.
        seed: of its first weights.

    Raises:
        ImportError: there is no scikit-learn.

    Example:
        >>> import torch
        >>> from pyg_diffusion.metrics.classes import Judge
        >>> x = torch.randn(200, 3, 1, generator=torch.Generator().manual_seed(0))
        >>> judge = Judge(x, (x[:, 0, 0] > 0).long())
        >>> judge.agreement(torch.tensor([[[3.0], [0.0], [0.0]], [[-3.0], [0.0], [0.0]]]), torch.tensor([1, 0]))
        1.0
    """

    def __init__(self, x: Tensor, classes: Tensor, seed: int = 0):
        from sklearn.neural_network import MLPClassifier

        flat = x.flatten(1).double()
        self.mean, self.std = flat.mean(0), flat.std().clamp_min(1e-12)
        self.net = MLPClassifier((HIDDEN,), alpha=1e-2, max_iter=150, tol=1e-3, random_state=seed)
        self.net.fit(self._seen(x), classes.long().numpy())

    def _seen(self, x: Tensor) -> np.ndarray:
        seen: np.ndarray = ((x.flatten(1).double() - self.mean) / self.std).numpy()
        return seen

    def agreement(self, x: Tensor, asked: Tensor) -> float:
        """Share of signals `[S, N, C]` that it takes for what was asked, `[S]`."""
        return float((self.net.predict(self._seen(x)) == asked.long().numpy()).mean())

    def features(self, x: Tensor) -> Tensor:
        """What its hidden layer makes of signals, `[S, 64]`."""
        hidden = self._seen(x) @ self.net.coefs_[0] + self.net.intercepts_[0]
        return torch.from_numpy(np.maximum(hidden, 0))


def frechet_distance(a: Tensor, b: Tensor) -> float:
    r"""|μ_a - μ_b|² + tr(C_a + C_b - 2 (C_a C_b)^{1/2}) of Gaussians with the means and covariances of `[S, F]` and `[R, F]`
    (Fréchet 1957; Heusel et al. 2017).

    Example:
        >>> import torch
        >>> from pyg_diffusion.metrics.classes import frechet_distance
        >>> x = torch.tensor([[-1.0], [1.0]])
        >>> round(frechet_distance(x, 3 * x + 1), 6)  # 1 + (3 √2 - √2)²
        9.0
    """
    a, b = a.double(), b.double()
    first, second = (torch.atleast_2d(x.mT.cov()) for x in (a, b))
    lam, u = torch.linalg.eigh(first)
    root = u * lam.clamp_min(0).sqrt() @ u.mT
    cross = torch.linalg.eigvalsh(root @ second @ root).clamp_min(0).sqrt().sum()
    return float((a.mean(0) - b.mean(0)).square().sum() + first.trace() + second.trace() - 2 * cross)
