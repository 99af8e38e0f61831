"""AtomNet: a `GraphNet` whose nodes are atoms, equivariant under rotations."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data

from ..data.schema import BOND_TYPES
from ..network import Noisy
from ..spectral import LaplacianOperator
from .atom_graph import HOPS, SIDES, AtomGraph, AtomTypes, handedness, length_of
from .block import BlockNet, GraphBlock
from .conv import VectorConv, csr_adjacency
from .embedding import GraphEmbedding, size_of
from .encodings import EDGE_TIMES, NODE_TIMES, GaussianBasis

BASES = 3  # vectors of a node that its prediction is made of beside its own: S_t, c_skip S_t, c_in S_t


class _Told(NamedTuple):
    """What all blocks of one call have in common."""

    graph: AtomGraph
    operator: LaplacianOperator
    noisy: Noisy
    embedding: Tensor  # [num_graphs, W]
    bases: Tensor  # [N, 3, BASES]
    pairs: Tensor  # [2, P] (j, i), sorted by i
    adjacency: Tensor  # the same, as layers take it fastest
    weight: Tensor  # [P]
    pair: Tensor  # [P, E] what is known of a pair beside the estimate


class AtomEmbedding(GraphEmbedding):
    """What atoms and pairs start from: types and heat kernels, and lengths in the noisy signal.

    Args:
        width: of node features and embeddings.
        pair_width: of pair features.
        conditions: number of conditions.
    """

    def __init__(self, width: int, pair_width: int, conditions: int = 0):
        super().__init__(width, conditions)
        self.types = AtomTypes(width)
        self.lin = nn.Linear(len(NODE_TIMES) + 4, width)
        self.basis = GaussianBasis()
        self.kind = nn.Embedding(HOPS * SIDES * len(BOND_TYPES), pair_width)
        self.pair = nn.Linear(len(EDGE_TIMES) + self.basis.size + 3, pair_width)
        self.time_pair = nn.Linear(width, pair_width)
        self.reset_parameters()

    def of_nodes(self, graph: AtomGraph, bases: Tensor) -> Tensor:
        """`[N, width]`, of bases `[N, 3, BASES]`."""
        lengths = length_of(bases.mT)
        dot = (bases[..., 0] * bases[..., 1]).sum(1, keepdim=True)
        h: Tensor = self.types(graph.x) + self.lin(torch.cat([graph.heat.to(dot), lengths, dot], dim=1))
        return h

    def of_pairs(self, pairs: Tensor, kind: Tensor, heat: Tensor, noisy: Noisy, time: Tensor) -> Tensor:
        """`[P, pair_width]`; `time [P, width]`."""
        j, i = pairs
        apart, white = noisy.signal[j] - noisy.signal[i], noisy.white[j] - noisy.white[i]
        length = length_of(apart)
        apart_white = length_of(white)
        cosine = (apart * white).sum(1) / (length * apart_white)
        numbers = torch.stack([length.log1p(), apart_white.log1p(), cosine], dim=1)
        known = torch.cat([heat.to(length), self.basis(length), numbers], dim=1)
        p: Tensor = self.kind(kind) + self.pair(known) + self.time_pair(time)
        return p


class _AtomBlock(nn.Module):
    """A `GraphBlock` over pairs at the distances of the estimate so far, then vectors, and the next estimate from them."""

    def __init__(
        self, width: int, heads: int, pair_width: int, expansion: int, global_attention: bool, attention: bool, vectors: int
    ):
        super().__init__()
        self.basis = GaussianBasis()
        self.near = nn.Linear(self.basis.size, pair_width, bias=False)
        self.chi = nn.Linear(2, width, bias=False)
        self.block = GraphBlock(width, heads, pair_width, expansion, 0, global_attention, attention)
        self.conv = VectorConv(width, vectors, pair_width)
        self.enter = nn.Linear(BASES + 1, vectors, bias=False)
        self.mix = nn.Linear(vectors, 2 * vectors, bias=False)
        self.back = nn.Linear(2 * vectors, width)
        self.read = nn.Linear(width, vectors + BASES)

    def reset_parameters(self) -> None:
        """It proposes no change."""
        nn.init.zeros_(self.read.weight)
        nn.init.zeros_(self.read.bias)

    def forward(self, h: Tensor, v: Tensor, f: Tensor, told: _Told) -> tuple[Tensor, Tensor, Tensor]:
        (j, i), noisy = told.pairs, told.noisy
        with torch.autocast(f.device.type, enabled=False):  # lengths decide to the hundredth of an Å
            x = noisy.skip + told.operator.apply(noisy.c_out, f)
            apart = x[j] - x[i]
            length = length_of(apart)
            basis, unit = self.basis(length), apart / length.unsqueeze(1)
            chi, parity = handedness(x, told.graph.tetra)
        pair = F.silu(told.pair + self.near(basis))
        h = self.block(
            h + self.chi(chi), told.embedding, told.graph.batch, told.adjacency, told.weight, pair, told.operator,
            told.graph.unit,
        )  # fmt: skip
        y = F.layer_norm(h, h.shape[1:])
        v = v + self.conv(y, v, told.pairs, pair, unit, told.weight)
        v = v + self.enter(torch.cat([told.bases, parity.unsqueeze(2)], dim=2))
        p, q = self.mix(v).chunk(2, dim=2)
        length, dot = (p.square().sum(1) + 1e-4).sqrt(), (p * q).sum(1)
        h = h + self.back(torch.cat([length, dot / (1 + length)], dim=1))
        share = self.read(F.layer_norm(h, h.shape[1:])).to(f.dtype).unsqueeze(1)
        return h, v, f + (share * torch.cat([v.to(f.dtype), told.bases], dim=2)).sum(2)


class AtomNet(BlockNet):
    r"""The target F of a preconditioned denoiser of conformers, `[num_nodes, 3]`: what a `GraphNet` is for any signal.

    Atoms see those within three bonds, so along bonds, angles and torsions, and all others within 5 Å in the noisy
    signal, which fade out smoothly. A `GraphBlock` reads types of atoms and bonds, cis and trans, heat kernels, and the
    distances of the estimate c_skip S_t + c_out(L) F of the block before; then vectors are passed along the directions of
    the pairs, as in PaiNN (Schütt, Unke and Gastegger 2021, `arXiv:2102.03150 <https://arxiv.org/abs/2102.03150>`_), and F
    changes by a sum of vectors with invariant weights, as positions do in the EGNN of Satorras, Hoogeboom and Welling 2021
    (`arXiv:2102.09844 <https://arxiv.org/abs/2102.09844>`_). The parity of a stereocentre enters as its signed volume times
    the parity told, and that product's gradient.

    Equivariant under permutations, rotations, and reflections if each centre is told to be its mirror image. The read-outs
    start at 0, so that the untrained denoiser is the best linear one.

    Args:
        width: features per atom, a multiple of `heads`.
        depth: number of blocks.
        heads: attention heads.
        conditions: number of conditions.
        expansion: hidden over outer width of the feed-forward layers.
        global_attention: attend to all atoms of a molecule beside.
        attention: neighbours speak by attention; by gated messages if false.

    Raises:
        ValueError: width no multiple of heads, a signal or conditions of another shape.

    Example:
        >>> import torch
        >>> from rdkit import Chem
        >>> from pyg_diffusion.chem import molecule_from_mol
        >>> from pyg_diffusion.data import laplacian_operator
        >>> from pyg_diffusion.denoise import Denoiser
        >>> from pyg_diffusion.nn import AtomNet
        >>> from pyg_diffusion.sde import GeometricTime, LinearSDE
        >>> from pyg_diffusion.spectral import PowerSpectrum
        >>> data = molecule_from_mol(Chem.AddHs(Chem.MolFromSmiles("CCO"))).data(conformer=None)
        >>> net = AtomNet(width=16, depth=1, heads=2)
        >>> denoiser = Denoiser(net, LinearSDE(GeometricTime(1e-3, 40.0)), PowerSpectrum.harmonic(), centered=True)
        >>> denoiser(laplacian_operator(data), torch.randn(9, 3), torch.tensor([[0.5]]), data).shape
        torch.Size([9, 3])
    """

    embed: AtomEmbedding

    def __init__(
        self,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
        conditions: int = 0,
        expansion: int = 2,
        global_attention: bool = False,
        attention: bool = True,
    ):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        self.vectors, pair_width = max(width // 4, 1), max(width // 2, 1)
        self.embed = AtomEmbedding(width, pair_width, conditions)
        self.blocks = nn.ModuleList(
            _AtomBlock(width, heads, pair_width, expansion, global_attention, attention, self.vectors) for _ in range(depth)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The network returns 0, each branch is damped by 1/√(2 depth)."""
        self.damp()
        for block in self.blocks:
            block.reset_parameters()  # type: ignore[operator]

    def encode(self, context: Data | AtomGraph, operator: LaplacianOperator) -> AtomGraph:
        """Everything that depends on the molecules alone."""
        return context if isinstance(context, AtomGraph) else AtomGraph.of(context, operator)

    def without_condition(self, context: Data | AtomGraph) -> Data | AtomGraph:
        """The same molecules with nothing asked of them."""
        return context._replace(condition=None) if isinstance(context, AtomGraph) else super().without_condition(context)

    def forward(self, noisy: Noisy, operator: LaplacianOperator, context: Data | AtomGraph) -> Tensor:
        """F `[num_nodes, 3]`; `context` is a (batched) `MoleculeData`, or its `encode`."""
        told = self._told(noisy, operator, self.encode(context, operator))
        h, f = self.embed.of_nodes(told.graph, told.bases), torch.zeros_like(noisy.signal)
        v = f.new_zeros(*f.shape, self.vectors)
        for block in self.blocks:
            h, v, f = block(h, v, f, told)
        return f

    def _told(self, noisy: Noisy, operator: LaplacianOperator, graph: AtomGraph) -> _Told:
        if noisy.signal.size(1) != 3:
            raise ValueError(f"atoms have 3 coordinates, the signal has {noisy.signal.size(1)}")
        embedding = self.embed.of_graph(noisy, operator, graph)
        with torch.autocast(embedding.device.type, enabled=False):
            seen = graph.seen(noisy.signal)
            signals = (noisy.signal, noisy.skip, noisy.white)
            bases = torch.stack([size_of(s, operator) * s for s in signals], dim=2)
        time = embedding[graph.batch[seen.pairs[1]]]
        pair = self.embed.of_pairs(seen.pairs, seen.kind, seen.heat, noisy, time)
        adjacency = seen.pairs if self.compiled else csr_adjacency(seen.pairs, operator.num_nodes)[0]
        return _Told(graph, operator, noisy, embedding, bases, seen.pairs, adjacency, seen.weight, pair)
