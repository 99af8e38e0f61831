"""A task of another package, in one file: scalar signals N(0, (L + 1)⁻¹) on random trees."""

import argparse
import json
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch_geometric.data import Batch, Data

from pyg_diffusion import laplacian_operator
from pyg_diffusion.console import say
from pyg_diffusion.generate import GraphGenerator, Job
from pyg_diffusion.spectral import PowerSpectrum
from pyg_diffusion.tasks import Task
from pyg_diffusion.tasks.options import add_drawing, at_least, drawing_options
from pyg_diffusion.train.datamodule import SignalDataModule
from pyg_diffusion.train.recipe import DataSection


class TreesData(DataSection):
    """Random trees with signals on them."""

    kind: Literal["trees"] = "trees"
    nodes: int = 10
    """Nodes of a tree."""
    number: int = 64
    """How many trees there are to train on."""


def tree(nodes: int, rng: np.random.Generator) -> Data:
    """Every node hangs on an earlier one."""
    row, col = np.arange(1, nodes), np.array([rng.integers(k) for k in range(1, nodes)], int)
    return Data(edge_index=torch.from_numpy(np.stack([np.r_[row, col], np.r_[col, row]])), num_nodes=nodes)


def exact(graph: Data, rng: np.random.Generator) -> torch.Tensor:
    """A signal `[N, 1]` of the law."""
    noise = torch.from_numpy(rng.standard_normal((int(graph.num_nodes or 0), 1))).float()
    return laplacian_operator(graph).apply(lambda lam: (lam + 1).rsqrt(), noise)


class TreesDataModule(SignalDataModule):
    centered = False

    def __init__(self, config: TreesData, seed: int):
        super().__init__(config, seed)
        rng = np.random.default_rng(seed)
        graphs = [tree(config.nodes, rng) for _ in range(config.number + 8)]
        for graph in graphs:
            graph.x = exact(graph, rng)
        self.train, self.val = graphs[:-8], graphs[-8:]

    def sizes(self, items):
        return np.array([graph.num_nodes for graph in items])

    def spectrum(self):
        lam = torch.linspace(0.1, 10, 32)
        return PowerSpectrum.fit(lam, 1 / (lam + 1))

    def model_facts(self):
        return {"channels": 1, "positions": 0}

    def card_facts(self):
        return {"data": {"kind": "trees", "nodes": self.config.nodes}}

    def present(self, batch, draws):
        told = batch.clone()
        del told.x
        return laplacian_operator(batch), batch.x, told


class TreeGenerator(GraphGenerator[Job]):
    makes = "trees"
    default_steps = 5

    def sample(self, n: int, seed: int) -> list[Job]:
        rng = np.random.default_rng(seed)
        jobs = [Job(data=tree(self.card.data["nodes"], rng), key=(k,)) for k in range(n)]
        self.draw_all(jobs, 1, seed)
        return jobs


class Trees(Task):
    name, makes, networks = "trees", "tree signals", ("graph",)
    section = TreesData

    def datamodule(self, recipe):
        return TreesDataModule(recipe.data, recipe.train.seed)

    def generator(self, denoiser, card, **options):
        return TreeGenerator(denoiser, card, **options)

    def add_arguments(self, command, options):
        if command == "sample":
            options.add_argument("--trees", type=at_least(1), default=4, help="how many")
            add_drawing(options, 5, "ancestral")

    def sample(self, args, denoiser, card):
        jobs = self.generator(denoiser, card, **drawing_options(args, card)).sample(args.trees, args.seed)
        made = [{"edges": job.data.edge_index.tolist(), "x": job.signal[:, 0].tolist()} for job in jobs]
        Path(args.output).write_text(json.dumps({"kind": "trees", "signals": made}))
        say(f"{args.output}: {len(made)} signals")
        return 0

    def evaluate(self, args: argparse.Namespace) -> int:
        signals = json.loads(Path(args.generated).read_text())["signals"]
        graphs = [Data(edge_index=torch.tensor(s["edges"]), num_nodes=len(s["x"])) for s in signals]
        x = torch.tensor([value for s in signals for value in s["x"]])[:, None]
        white = laplacian_operator(Batch.from_data_list(graphs)).apply(lambda lam: (lam + 1).sqrt(), x)
        print(f"variance {float(white.square().mean()):.3f}, of the law 1")
        return 0

    def plot(self, args, target):
        import matplotlib.pyplot as plt

        for s in json.loads(Path(args.source).read_text())["signals"]:
            plt.plot(s["x"])
        plt.savefig(target)

    def owns(self, path):
        return path.suffix == ".trees"


TASK = Trees()
