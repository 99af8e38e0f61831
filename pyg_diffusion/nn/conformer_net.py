"""ConformerNet: an attention network over all atom pairs of a molecule that predicts where the atoms belong."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data

from ..data.properties import properties
from ..data.schema import ATOM_FEATURES, BOND_TYPES
from ..network import Noisy
from ..spectral import DenseOperator, LaplacianOperator, heat
from ..spectral.autograd import call
from .attention import attention
from .base import NetworkBase
from .chirality import chirality
from .encodings import Fourier, GaussianBasis, graph_distance
from .registry import NetworkKind

HEAT_TIMES = (0.25, 1.0, 4.0, 16.0)
MAX_DISTANCE = 8  # bonds
ANGSTROM = 2.0  # coordinates enter the network in this unit


class Encoded(NamedTuple):
    """All of a batch of molecules that does not depend on the noisy signal; computed once, used in every step."""

    node: Tensor  # [B, N, W]
    pair: Tensor  # [B, T, P] of the pairs i <= j, T = N(N+1)/2
    ends: Tensor  # [2, T] i and j of each pair
    place: Tensor  # [N, N] which pair i and j are
    mask: Tensor  # [B, 1, 1, N] additive, 0 on atoms and -1e4 on padding
    exists: Tensor  # [B, N, 1] float
    neighbours: Tensor  # [B, N, N] row-normalised adjacency
    tetra: Tensor  # [5, T] positions in the padded layout, flat
    tetra_weight: Tensor  # [T, 1], 0 for fillers
    condition: Tensor  # [B, 2K] standardised values, 0 where unknown, and whether they are known
    level: Tensor  # [B, W] embedding of the level of theory
    radial: Tensor | None = None  # [stages, K, 2P] what stages make of lengths (`look_up`); None with gradients

    def without_condition(self) -> "Encoded":
        """The same molecules with nothing asked of them."""
        return self._replace(condition=torch.zeros_like(self.condition))


TABLE, LONGEST = 2048, 60.0  # lengths of a table, and the longest one in Å


def look_up(table: Tensor, distance: Tensor) -> Tensor:
    """Values at lengths in Å, `[...] -> [..., P]`, between those of a table `[K, 2P]` of values and of steps to the next.

    Lengths of the table are even in asinh d: .002 Å apart at 0, a four-hundredth of d beyond 1 Å.
    """
    place = distance.asinh().mul_((TABLE - 1) / math.asinh(LONGEST)).clamp_(max=TABLE - 1)
    first = place.int()
    value, step = F.embedding(first, table).chunk(2, dim=-1)
    return torch.addcmul(value, (place - first).unsqueeze(-1).to(step.dtype), step)


class Spread(torch.autograd.Function):
    """Values of pairs i <= j `[B, T, C]` as symmetric matrices `[B, N, N, C]`.

    A function of its own because the gradient of an index is a scatter, and here it is two reads: that of i, j and of j, i.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, place: Tensor, ends: Tensor) -> Tensor:
        ctx.save_for_backward(ends)
        square: Tensor = values.index_select(1, place.flatten()).unflatten(1, place.shape)
        return square

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (ends,), grad = ctx.saved_tensors, grads[0]
        n = grad.size(1)
        flat, (i, j) = grad.flatten(1, 2), ends
        upper, lower = flat.index_select(1, i * n + j), flat.index_select(1, j * n + i)
        return upper + torch.where((i == j)[:, None], 0.0, lower), None, None


class _Block(nn.Module):
    """Pre-norm attention with a given pair bias, then a feed-forward layer; both modulated by time (adaLN)."""

    def __init__(self, width: int, heads: int, expansion: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, expansion * width)
        self.down = nn.Linear(expansion * width, width, bias=False)

    def forward(self, h: Tensor, bias: Tensor, mod: Tensor) -> Tensor:
        b, n, w = h.shape
        shift1, scale1, gate1, shift2, scale2, gate2 = mod.unsqueeze(1).unbind(-2)
        x = F.layer_norm(h, (w,)) * (1 + scale1) + shift1
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, w // self.heads).permute(2, 0, 3, 1, 4)
        y = attention(q, k, v, bias)
        h = h + gate1 * self.out(y.transpose(1, 2).reshape(b, n, w))
        x = F.layer_norm(h, (w,)) * (1 + scale2) + shift2
        result: Tensor = h + gate2 * self.down(F.relu(self.up(x)).square())
        return result


class _Stage(nn.Module):
    """Reads geometry once, runs a few blocks under the resulting pair bias, proposes F."""

    def __init__(self, width: int, depth: int, heads: int, pair_width: int, expansion: int):
        super().__init__()
        self.heads, self.depth = heads, depth
        self.basis = GaussianBasis()
        self.rbf = nn.Linear(self.basis.size, pair_width, bias=False)
        self.time_pair = nn.Linear(width, pair_width)
        self.pair_bias = nn.Linear(pair_width, (depth + 1) * heads)
        self.vectors = nn.Linear(3 * 5, width, bias=False)
        self.chi = nn.Linear(2, width, bias=False)
        self.modulation = nn.Linear(width, depth * 6 * width)
        self.blocks = nn.ModuleList(_Block(width, heads, expansion) for _ in range(depth))
        # F = linear read-out + Σ_j f_ij (x_i - x_j)/d_ij + Σ_centres s_k ∂V_k/∂x_i
        self.read = nn.Linear(width, 3, bias=False)
        self.pair_qk = nn.Linear(width, 2 * width, bias=False)
        self.pair_read = nn.Linear(heads, 1, bias=False)
        self.tetra_read = nn.Linear(width, 1, bias=False)

    def reset_parameters(self) -> None:
        """Time does not modulate at first, branches are damped, read-outs start small."""
        nn.init.zeros_(self.modulation.weight)
        bias = torch.zeros(self.depth, 6, self.modulation.out_features // (6 * self.depth))
        bias[:, (2, 5)] = 0.3  # the two gates
        self.modulation.bias.data.copy_(bias.flatten())
        for layer in (self.read, self.pair_read, self.tetra_read):
            nn.init.normal_(layer.weight, std=1e-3)

    def table(self, dtype: torch.dtype) -> Tensor:
        """What it makes of each length of a table, `[K, 2P]` as in `look_up`."""
        lengths = torch.linspace(0, math.asinh(LONGEST), TABLE, device=self.rbf.weight.device).sinh()
        value = self.rbf(self.basis(lengths))
        return torch.cat([value, F.pad(value.diff(dim=0), (0, 0, 0, 1))], dim=1).to(dtype)

    def forward(
        self, h: Tensor, code: Encoded, x: Tensor, signal: Tensor, white: Tensor, time: Tensor, table: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        b, n, w = h.shape
        device = x.device.type
        with torch.autocast(device, enabled=False):  # lengths decide to the hundredth of an Å; bf16 would lose them
            offset = x - code.neighbours @ x
            i, j = code.ends
            distance = ((x[:, i] - x[:, j]).square().sum(-1) + 1e-4).sqrt()
            chi, gradient = chirality(x.reshape(b * n, 3), code.tetra, code.tetra_weight)
            ends = code.tetra[1:].reshape(-1)
            parity = torch.zeros_like(x).view(b * n, 3).index_add(0, ends, gradient.view(-1, 3))
            at_center = torch.zeros_like(parity[:, :1]).index_add(0, code.tetra[0], chi)
            at_ends = torch.zeros_like(at_center).index_add(0, ends, chi.repeat(4, 1))
            vectors = torch.cat([x, signal, white * ANGSTROM, offset, parity.view(b, n, 3)], dim=-1) / ANGSTROM
            chis = torch.cat([at_center, at_ends], dim=-1).view(b, n, 2)
        h = h + self.vectors(vectors) + self.chi(chis)
        radial = self.rbf(self.basis(distance)) if table is None else look_up(table, distance)
        pair = F.silu(code.pair + radial + self.time_pair(time)[:, None])
        bias = call(Spread, self.pair_bias(pair), code.place, code.ends)  # [B, N, N, (depth + 1) heads]
        bias = bias.view(b, n, n, self.depth + 1, self.heads).permute(3, 0, 4, 1, 2).contiguous() + code.mask.to(bias.dtype)
        mod = self.modulation(time).view(b, self.depth, 6, w)
        for k, block in enumerate(self.blocks):
            h = block(h, bias[k], mod[:, k])
        y = F.layer_norm(h, (w,))
        q, k = self.pair_qk(y).view(b, n, 2, self.heads, w // self.heads).permute(2, 0, 3, 1, 4)
        score = q @ k.mT * (w // self.heads) ** -0.5 + bias[-1]
        push = self.pair_read(F.silu(score).permute(0, 2, 3, 1)).squeeze(-1)
        linear, turn = self.read(y), self.tetra_read(y)
        with torch.autocast(device, enabled=False):
            push = (
                push.float() * code.exists.mT / (call(Spread, distance[..., None], code.place, code.ends).squeeze(-1) + 0.5)
            )
            out = linear.float() + push.sum(-1, keepdim=True) * x - push @ x
            turn = turn.float().reshape(b * n, 1)[code.tetra[0]]
            out = out + torch.zeros_like(parity).index_add(0, ends, (gradient * turn).view(-1, 3)).view(b, n, 3)
        return h, out * code.exists


class ConformerNet(NetworkBase):
    r"""F(S_t, t | molecule): a transformer over atoms, in stages that look at their own estimate.

    The attention bias of a pair is one small network of its distance, bond, graph distance, cis/trans relation and heat
    kernels exp(-sL)_ij, which do not depend on the sign or basis of eigenvectors. Tetrahedral parity enters as the signed
    volume of each stereocentre and its gradient, and leaves through an output term along that gradient. The first stage
    reads the noisy coordinates; every later one reads D = skip + c_out(L) F of the stage before, so that lengths, and the
    handedness of every centre, are judged on an estimate and not on noise.

    Not equivariant under rotations; it is trained on random ones. Equivariant under permutations.

    Args:
        width: features per atom, a multiple of `heads`.
        depths: attention blocks of each stage.
        heads: attention heads.
        pair_width: hidden features per pair.
        expansion: hidden over outer width of the feed-forward layers.
        conditions: names of numbers per molecule that steer the geometry (`data.properties`), read from `data.condition`
            `[num_graphs, K]`; NaN, or no such attribute, means that any value will do. Every stage also reads how far the
            geometry before it is from what is asked.
        levels: levels of theory that the network tells apart, read by name from `data.level` (a list, one per graph); any
            other name, or no such attribute, is a level unknown.

    Raises:
        ValueError: a width that is no multiple of `heads`.
        TypeError: when called: an operator that is no `DenseOperator`.

    Example:
        >>> import torch
        >>> from rdkit import Chem
        >>> from pyg_diffusion.chem import molecule_from_mol
        >>> from pyg_diffusion.data import laplacian_operator
        >>> from pyg_diffusion.denoise import Denoiser
        >>> from pyg_diffusion.nn import ConformerNet
        >>> from pyg_diffusion.sde import GeometricTime, LinearSDE
        >>> from pyg_diffusion.spectral import PowerSpectrum
        >>> data = molecule_from_mol(Chem.AddHs(Chem.MolFromSmiles("CCO"))).data(conformer=None)
        >>> net = ConformerNet(width=16, depths=(1, 1), heads=2, pair_width=8)
        >>> denoiser = Denoiser(net, LinearSDE(GeometricTime(1e-3, 40.0)), PowerSpectrum.harmonic(), centered=True)
        >>> denoiser(laplacian_operator(data), torch.randn(9, 3), torch.tensor([[0.5]]), data).shape
        torch.Size([9, 3])
    """

    needs_dense = True

    def __init__(
        self,
        width: int = 192,
        depths: tuple[int, ...] = (3, 3),
        heads: int = 8,
        pair_width: int = 64,
        expansion: int = 3,
        conditions: tuple[str, ...] = (),
        levels: tuple[str, ...] = (),
    ):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        self.atom = nn.ModuleList(nn.Embedding(size, width) for size in ATOM_FEATURES.values())
        self.atom_heat = nn.Linear(len(HEAT_TIMES), width)
        self.bond = nn.Embedding(len(BOND_TYPES), pair_width)
        self.hops = nn.Embedding(MAX_DISTANCE + 2, pair_width)
        self.side = nn.Embedding(3, pair_width)
        self.pair_heat = nn.Linear(len(HEAT_TIMES), pair_width)
        self.fourier = Fourier()
        self.time = nn.Sequential(nn.Linear(32, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.levels = tuple(levels)
        if levels:
            self.level = nn.Embedding(len(levels) + 1, width)
        self.conditions = tuple(conditions)
        if conditions:
            self.condition = nn.Sequential(nn.Linear(3 * len(conditions), width), nn.SiLU(), nn.Linear(width, width))
            self.condition_mean: Tensor
            self.condition_std: Tensor
            self.register_buffer("condition_mean", torch.zeros(len(conditions)))
            self.register_buffer("condition_std", torch.ones(len(conditions)))
        self.stages = nn.ModuleList(_Stage(width, depth, heads, pair_width, expansion) for depth in depths)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Embeddings at their scale; each stage sets up itself."""
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.5)
            elif isinstance(module, _Stage):
                module.reset_parameters()
        if self.levels:
            nn.init.zeros_(self.level.weight)
        if self.conditions:
            for parameter in self.condition[2].parameters():
                nn.init.zeros_(parameter)

    def encode(self, context: Data | Encoded, operator: LaplacianOperator) -> Encoded:
        """Everything that depends on the molecules alone. Data needs x, edge_index, edge_attr, tetra_index, ez_*."""
        if isinstance(context, Encoded):
            return context
        if not isinstance(operator, DenseOperator):
            raise TypeError(f"ConformerNet needs a DenseOperator (backend=DenseOperator.from_laplacian), got {operator!r}")
        device = context.x.device.type
        working = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        with torch.autocast(device, enabled=False):
            code = self._encode(context, operator)
            if torch.is_grad_enabled():
                return code
            # what sampling asks again and again is looked up, and moved about, in the precision that products have
            working = working or code.pair.dtype
            tables = torch.stack([stage.table(working) for stage in self.stages])  # type: ignore[operator]
            return code._replace(pair=code.pair.to(working), radial=tables)

    def without_condition(self, context: Data | Encoded) -> Data | Encoded:
        """The same molecules with nothing asked of them."""
        return context.without_condition() if isinstance(context, Encoded) else super().without_condition(context)

    def set_conditions(self, mean: Tensor, std: Tensor) -> None:
        """Mean and standard deviation of the `conditions`, `[K]` each."""
        if len(mean) != len(self.conditions):
            raise ValueError(f"this network takes {len(self.conditions)} conditions, got {len(mean)}")
        if self.conditions:
            self.condition_mean.copy_(mean)
            self.condition_std.copy_(std)

    def _encode(self, data: Data, operator: DenseOperator) -> Encoded:
        x = operator.pack(sum(table(data.x[:, k]) for k, table in enumerate(self.atom)))
        b, n = operator.num_graphs, operator.max_nodes
        slots = operator.slots
        kernels = torch.stack([operator.matrix(heat(s)) for s in HEAT_TIMES], dim=-1)

        bond = torch.zeros(b * n, n, dtype=torch.long, device=x.device)
        row, col = slots[data.edge_index]
        bond[row, col % n] = data.edge_attr
        bond = bond.view(b, n, n)
        side = torch.zeros(b * n, n, dtype=torch.long, device=x.device)
        start, end = slots[data.ez_index[0]], slots[data.ez_index[3]]
        side[start, end % n] = data.ez_attr
        side[end, start % n] = data.ez_attr

        adjacency = bond > 0
        i, j = ends = torch.triu_indices(n, n, device=x.device)  # all that is asked of a pair is the same both ways
        place = torch.empty(n, n, dtype=torch.long, device=x.device)
        place[i, j] = place[j, i] = torch.arange(ends.size(1), device=x.device)
        kind = (side.view(b, n, n) * (MAX_DISTANCE + 2) + graph_distance(adjacency, MAX_DISTANCE)) * len(BOND_TYPES) + bond
        table = self.side.weight[:, None, None] + self.hops.weight[:, None] + self.bond.weight  # one look-up for three
        pair = F.embedding(kind[:, i, j], table.flatten(0, 2))
        exists = operator.mode_mask
        # Fillers of weight 0 keep the number of centres away from 0 and 1, sizes that a compiled graph would specialise on.
        filler = slots.new_zeros(5, 2) if slots.numel() == 0 else slots[:1].expand(5, 2)
        tetra = torch.cat([slots[data.tetra_index], filler], dim=1)
        weight = torch.cat([x.new_ones(data.tetra_index.size(1), 1), x.new_zeros(2, 1)])
        asked = data.get("condition")
        if asked is None:
            asked = kernels.new_full((b, len(self.conditions)), float("nan"))
        if asked.shape != (b, len(self.conditions)):
            raise ValueError(
                f"condition must be [{b}, {len(self.conditions)}] for {self.conditions}, got {list(asked.shape)}"
            )
        known = asked.isfinite()
        if self.conditions:
            asked = torch.where(known, (asked - self.condition_mean) / self.condition_std, 0.0)
        return Encoded(
            node=x + self.atom_heat(kernels.diagonal(dim1=1, dim2=2).mT) * exists.unsqueeze(-1),
            pair=pair + self.pair_heat(kernels[:, i, j]),
            ends=ends,
            place=place,
            mask=torch.where(exists, 0.0, -1e4)[:, None, None, :],
            exists=exists.unsqueeze(-1).to(kernels.dtype),
            neighbours=adjacency / adjacency.sum(-1, keepdim=True).clamp_min(1),
            tetra=tetra,
            tetra_weight=weight,
            condition=torch.cat([asked, known.to(kernels.dtype)], dim=1),
            level=self._level(data.get("level"), b, x),
        )

    def _level(self, names: Sequence[str] | str | None, b: int, like: Tensor) -> Tensor:
        """What the network adds to time for the levels of theory, `[B, W]`."""
        if not self.levels:
            return like.new_zeros(b, like.size(-1))
        names = [names or ""] * b if names is None or isinstance(names, str) else names
        number = {name: k for k, name in enumerate(self.levels)}
        places = torch.tensor([number.get(name, len(self.levels)) for name in names], device=like.device)
        level: Tensor = self.level(places)
        return level

    def trunk(
        self, code: Encoded, signal: Tensor, skip: Tensor, white: Tensor, c_out: Tensor, u: Tensor, log_tau: Tensor
    ) -> list[Tensor]:
        """The dense computation, `[B, N, 3]` in, F of every stage out; what `torch.compile` sees."""
        time = self.time(self.fourier(log_tau))
        time = time + code.level.to(time.dtype)
        h, x = code.node, signal
        estimates: list[Tensor] = []
        tables = [None] * len(self.stages) if code.radial is None or torch.is_grad_enabled() else code.radial.unbind()
        for stage, table in zip(self.stages, tables, strict=True):
            if estimates:
                with torch.autocast(x.device.type, enabled=False):
                    x = skip + u @ (c_out * (u.mT @ estimates[-1]))
            steered = time + self.condition(self._wish(code, x)) if self.conditions else time
            h, f = stage(h, code, x, signal, white, steered, table)
            estimates.append(f)
        return estimates

    def _wish(self, code: Encoded, x: Tensor) -> Tensor:
        """What is asked, whether anything is, and how far the geometry that a stage looks at is from it, `[B, 3K]`."""
        with torch.autocast(x.device.type, enabled=False):
            asked, known = code.condition.chunk(2, dim=1)
            has = (properties(self.conditions, x, code.exists.squeeze(-1)) - self.condition_mean) / self.condition_std
            return torch.cat([asked, known, torch.tanh(5 * (asked - has)) * known], dim=1)

    def compile(self) -> None:
        """Compile the dense computation, once for all sizes."""
        self.trunk = torch.compile(self.trunk, dynamic=True)  # type: ignore[method-assign]

    def forward(self, noisy: Noisy, operator: DenseOperator, context: Data | Encoded) -> list[Tensor]:
        """F of every stage, each `[num_nodes, 3]`; `context` is a (batched) `MoleculeData`, or its `encode`."""
        code = self.encode(context, operator)
        signal, skip, white = (operator.pack(v) for v in (noisy.signal, noisy.skip, noisy.white))
        out = self.trunk(code, signal, skip, white, operator.response(noisy.c_out), operator.eigenvectors, noisy.log_tau)
        return [operator.unpack(f) for f in out]


KIND = NetworkKind(ConformerNet)
