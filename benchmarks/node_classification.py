"""Node classification: HeatConv beside GCNConv, ChebConv and no graph, on a graph of communities that PyG makes.

    python benchmarks/node_classification.py [--seeds 5] [--epochs 100] [-o OUT.json]

`torch_geometric.utils.stochastic_blockmodel_graph`: 4 communities of 120 nodes, edges within with probability .05,
between them .01. A node's features are its community, one-hot, under noise of standard deviation 2, so that one says
little; 5 nodes of each community are labelled to train on, 20 others choose the epoch, the rest is scored. Every network has
two layers of width 32, dropout .5 and Adam at .01; seeds draw graph, features, labels and weights anew. Prints accuracy,
mean and standard deviation over seeds, and seconds; writes results/node_classification.json and .png. Offline; one core.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from machine import machine
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import ChebConv, GCNConv
from torch_geometric.utils import stochastic_blockmodel_graph

from pyg_diffusion import HeatConv, laplacian_operator

HERE = Path(__file__).parent
COMMUNITIES, NODES, WITHIN, BETWEEN, NOISE = 4, 120, 0.05, 0.01, 2.0
TRAIN, VALIDATE = 5, 20  # nodes of each community
WIDTH, DROPOUT, RATE = 32, 0.5, 0.01


class Blind(nn.Module):
    """A linear layer, which sees no edges."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.lin = nn.Linear(in_channels, out_channels)

    def forward(self, x: Tensor, _: Any) -> Tensor:
        return self.lin(x)


CONVS: dict[str, Callable[[int, int], nn.Module]] = {
    "HeatConv": partial(HeatConv, high=4.0),  # in units of 1/mean degree: from a quarter of a step to a few
    "GCNConv": GCNConv,
    "ChebConv, K = 3": partial(ChebConv, K=3),
    "no graph": Blind,
}


class Classifier(nn.Module):
    """Two layers of one kind."""

    def __init__(self, conv: Callable[[int, int], nn.Module]):
        super().__init__()
        self.first, self.second = conv(COMMUNITIES, WIDTH), conv(WIDTH, COMMUNITIES)

    def forward(self, x: Tensor, edges: Any, **options: Any) -> Tensor:
        x = nn.functional.dropout(self.first(x, edges, **options).relu(), DROPOUT, self.training)
        return self.second(x, edges, **options)


def graph(seed: int) -> tuple[Data, dict[str, Tensor]]:
    """The graph with its features, and which nodes are of what split."""
    torch.manual_seed(seed)
    probabilities = torch.full((COMMUNITIES, COMMUNITIES), BETWEEN).fill_diagonal_(WITHIN)
    edges = stochastic_blockmodel_graph([NODES] * COMMUNITIES, probabilities)
    y = torch.arange(COMMUNITIES).repeat_interleave(NODES)
    label = nn.functional.one_hot(y, COMMUNITIES).float()
    data = Data(x=label + NOISE * torch.randn_like(label), edge_index=edges, y=y)
    rank = torch.empty_like(data.y)
    for k in range(COMMUNITIES):
        own = (data.y == k).nonzero().squeeze(1)
        rank[own] = torch.randperm(len(own))
    train, validate = rank < TRAIN, (rank >= TRAIN) & (rank < TRAIN + VALIDATE)
    return data, {"train": train, "validate": validate, "test": ~(train | validate)}


def accuracy(name: str, seed: int, epochs: int) -> tuple[float, float]:
    """(share of test nodes that are right at the best epoch on the validation nodes, seconds)."""
    data, split = graph(seed)
    start = time.process_time()
    options: dict[str, Any] = {}
    edges = data.edge_index
    if name == "HeatConv":  # one graph, many calls: its spectrum once
        edges = laplacian_operator(data)
        options = {"unit": torch.full((1, 1), data.num_edges / data.num_nodes)}
    torch.manual_seed(seed)
    model = Classifier(CONVS[name])
    optimizer = torch.optim.Adam(model.parameters(), RATE, weight_decay=5e-4)
    best, scored = -1.0, 0.0
    for _ in range(epochs):
        model.train()
        optimizer.zero_grad()
        out = model(data.x, edges, **options)
        nn.functional.cross_entropy(out[split["train"]], data.y[split["train"]]).backward()
        optimizer.step()
        model.eval()
        with torch.no_grad():
            right = (model(data.x, edges, **options).argmax(1) == data.y).float()
        if float(right[split["validate"]].mean()) > best:
            best, scored = float(right[split["validate"]].mean()), float(right[split["test"]].mean())
    return scored, time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results" / "node_classification.json")
    args = parser.parse_args()
    rows: dict[str, Any] = {}
    print(f"{'layer':<18} accuracy (std)   CPU seconds")
    for name in CONVS:
        found = [accuracy(name, seed, args.epochs) for seed in range(args.seeds)]
        share = torch.tensor([one for one, _ in found])
        rows[name] = {"accuracy": share.tolist(), "seconds": sum(seconds for _, seconds in found) / len(found)}
        print(f"{name:<18} {share.mean():.3f} ({share.std():.3f})    {rows[name]['seconds']:.2f}")
    options = {"seeds": args.seeds, "epochs": args.epochs}
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps({"machine": machine(), "options": options, "layers": rows}, indent=1) + "\n")
    figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
    for k, row in enumerate(rows.values()):
        share = torch.tensor(row["accuracy"])
        axis.bar(k, float(share.mean()), yerr=float(share.std()), color=f"C{k}", capsize=4)
    axis.set_xticks(range(len(rows)), list(rows), fontsize=8)
    axis.axhline(1 / COMMUNITIES, color="black", lw=0.5)
    axis.set(ylabel="accuracy", ylim=(0, 1), title="communities, 5 labels each")
    figure.savefig(args.output.with_suffix(".png"), dpi=120)


if __name__ == "__main__":
    main()
