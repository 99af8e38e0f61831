"""ConformerNet against the network of ET-Flow, an equivariant transformer of equal size: training molecules per second.

    pip install --no-deps etflow torchmd-net ase warp-lang        # the peers; whichever is missing is left out
    python benchmarks/network_speed.py [--compile]

The batch of median size by the recipe `configs/conformers_cpu.yaml`, from QM9 (`datasets/qm9_3000.sdf.gz`) and from
drug-like molecules (`datasets/zinc_100.smi`, embedded by ETKDGv3). Every network sees the same molecules; a step is noising,
forward, mean squared error of a vector per atom, backward, clipping and the optimizer. What is counted differs only in the
peers' favour:

- ConformerNet: the recipe's step with all that it needs, random orientations, Laplacian spectra, the loss of both stages,
  Muon. bf16 leaves geometry and spectra in float32.
- the peers: AdamW, Gaussian instead of harmonic noise, edges (pairs within 10 Å, the 32 nearest of an atom, as in ET-Flow)
  found beforehand from the clean positions. Their batches are parts of 10,000 edges (30 molecules of QM9), since whole ones
  would take some 20 GB.

"ET-Flow" is `etflow`'s own network (Hassan et al. 2024) by its QM9 recipe, with 9 layers in place of 20 for equal size.
"TorchMD_ET" is torchmd-net's (Thölke and De Fabritiis 2022), from which that descends; "wide" trades depth for width, the
cheapest way to so many parameters. Times are processor time of one thread, so that other work on the machine does not count,
after warm-up. --compile adds torch.compile of all networks, minutes each. Prints the table, writes
results/network_speed.json and .png.
"""

import argparse
import gc
import importlib.util
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from machine import machine
from rdkit import Chem
from rdkit.Chem import rdDistGeom
from torch import Tensor, nn
from torch_geometric.data import Batch

from pyg_diffusion.chem import read_smiles
from pyg_diffusion.chem.prepare import prepare
from pyg_diffusion.loss import denoising_loss
from pyg_diffusion.tasks import load_recipe
from pyg_diffusion.tasks.molecules.data import ConformerDataModule
from pyg_diffusion.train import Recipe
from pyg_diffusion.train.datamodule import Draws, SizedBatches
from pyg_diffusion.train.optimizer import MuonAdamW, split_parameters
from pyg_diffusion.weights_io import Card, build_denoiser

ROOT = Path(__file__).parent.parent
CUTOFF, NEIGHBOURS, PART = 10.0, 32, 10_000
OURS = "ConformerNet"
Step = Callable[[Any], None]


@dataclass
class Row:
    """One network on one kind of molecules."""

    data: str
    network: str
    parameters: int
    precision: str
    compiled: bool
    molecules_per_second: float
    seconds_per_step: float

    @property
    def mode(self) -> str:
        return f"{self.precision}, {'compiled' if self.compiled else 'eager'}"


def drug_like(path: Path) -> str:
    """An SDF file of embedded ZINC molecules."""
    with Chem.SDWriter(str(path)) as writer:
        for record in read_smiles(ROOT / "datasets" / "zinc_100.smi"):
            mol = Chem.AddHs(record.mol)
            if rdDistGeom.EmbedMolecule(mol, randomSeed=1) == 0:
                writer.write(mol)
    return str(path)


def edges(pos: Tensor, batch: Tensor) -> Tensor:
    """Pairs of one molecule within the cutoff, the nearest few of each atom, `[2, E]`."""
    distance = torch.cdist(pos, pos).masked_fill(batch[:, None] != batch, torch.inf).fill_diagonal_(torch.inf)
    near, other = distance.topk(min(NEIGHBOURS, len(pos)), largest=False)
    atom, rank = (near < CUTOFF).nonzero().T
    return torch.stack([other[atom, rank], atom])


def parts(items: list) -> Iterator[Batch]:
    """A batch in parts of so many edges, each with its `edges`."""
    part: list = []
    count = 0
    for item in items:
        mine = edges(item.pos, torch.zeros(item.num_nodes, dtype=torch.long)).size(1)
        if part and count + mine > PART:
            yield Batch.from_data_list(part)
            part, count = [], 0
        part, count = [*part, item], count + mine
    yield Batch.from_data_list(part)


class TorchMD(nn.Module):
    """torchmd-net's equivariant transformer and vector read-out, on given edges."""

    class Edges(nn.Module):
        """In the place of its neighbour search."""

        def forward(self, pos: Tensor, batch: Tensor, box: None) -> tuple[Tensor, Tensor, Tensor]:
            vector = pos[self.index[0]] - pos[self.index[1]]
            return self.index, vector.norm(dim=1), vector

    def __init__(self, width: int, depth: int):
        from torchmdnet.models.output_modules import EquivariantVectorOutput
        from torchmdnet.models.torchmd_et import TorchMD_ET

        super().__init__()
        self.net = TorchMD_ET(hidden_channels=width, num_layers=depth, num_rbf=64, cutoff_upper=CUTOFF)
        self.net.distance = self.Edges()
        self.head = EquivariantVectorOutput(width)

    def forward(self, batch: Batch, pos: Tensor, t: Tensor, index: Tensor) -> Tensor:
        self.net.distance.index = index
        return self.head.pre_reduce(*self.net(batch.z, pos, batch.batch))


class ETFlow(nn.Module):
    """ET-Flow's network by its QM9 recipe, but for the depth. Bonds are marked on the edges, atoms have our features."""

    def __init__(self, depth: int):
        super().__init__()
        self.net = self.package().TorchMDDynamics(
            hidden_channels=160,
            num_layers=depth,
            num_rbf=64,
            trainable_rbf=True,
            cutoff_upper=CUTOFF,
            node_attr_dim=6,
            edge_attr_dim=1,
            qk_norm=True,
            clip_during_norm=True,
        )

    @staticmethod
    def package() -> ModuleType:
        """etflow.networks.torchmd_net alone: the package itself wants a pinned environment of some twenty others."""
        found = importlib.util.find_spec("etflow")
        if found is None or not found.submodule_search_locations:
            raise ImportError("No module named 'etflow'", name="etflow")
        # For a neighbour search that this network does not use; it needs a compiler to install.
        sys.modules.setdefault("torch_cluster", ModuleType("torch_cluster")).__dict__.setdefault("radius_graph", None)
        folder = Path(found.submodule_search_locations[0]) / "networks" / "torchmd_net"
        spec = importlib.util.spec_from_file_location("etflow_torchmd_net", folder / "__init__.py")
        assert spec is not None and spec.loader is not None
        module = sys.modules["etflow_torchmd_net"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def forward(self, batch: Batch, pos: Tensor, t: Tensor, index: Tensor) -> Tensor:
        x, v, *rest = self.net.representation_model(batch.z, t, pos, batch.batch, index, batch.x.float(), batch.bonded)
        with torch.autocast("cpu", enabled=False):  # as published, the read-out takes float32 alone
            return self.net.output_model.pre_reduce(x.float(), v.float(), *rest)[1] - pos


def ours(data: ConformerDataModule, config: Recipe, bf16: bool, compiled: bool) -> tuple[nn.Module, Step]:
    """ConformerNet and its training step."""
    card = Card(process=config.process.model_dump(), model=config.model.model_dump(), bf16=bf16, **data.card_facts())
    denoiser = build_denoiser(card, data.spectrum())
    net: Any = denoiser.net
    if compiled:
        net.compile()
    options = config.optimizer
    optimizer = MuonAdamW(*split_parameters(net), options.muon_lr, options.lr, options.weight_decay)
    generator = torch.Generator().manual_seed(0)

    def step(batch: Batch) -> None:
        draws = Draws(generator, batch.num_graphs, batch.num_nodes)
        operator, x_0, context = data.present(batch, draws)
        log_tau = config.train.log_tau_mean + config.train.log_tau_std * draws.graph_normal(1)
        t = denoiser.sde.schedule.t(log_tau.exp()).clamp(0, 1)
        noise = draws.node_normal(3)
        denoising_loss(denoiser, operator, x_0, noise, t, context, config.train.stage_weight).mean().backward()
        nn.utils.clip_grad_norm_(net.parameters(), options.clip)
        optimizer.step()
        optimizer.zero_grad()

    return net, step


def peer(net: nn.Module, bf16: bool, compiled: bool) -> tuple[nn.Module, Step]:
    """An equivariant transformer and its training step, flow matching."""
    call = torch.compile(net, dynamic=True) if compiled else net
    optimizer = torch.optim.AdamW(net.parameters(), lr=7e-4, weight_decay=1e-8)

    def step(batch: Batch) -> None:
        noise, t = torch.randn_like(batch.pos), torch.rand(batch.num_graphs, 1)[batch.batch]
        pos = t * batch.pos + (1 - t) * noise
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            out = call(batch, pos, t, batch.pairs)
        F.mse_loss(out.float(), batch.pos - noise).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return net, step


PEERS: dict[str, Callable[[], nn.Module]] = {
    "ET-Flow": lambda: ETFlow(9),
    "TorchMD_ET": lambda: TorchMD(160, 11),
    "TorchMD_ET, wide": lambda: TorchMD(256, 4),
}


def timed(step: Step, batches: list[Batch], seconds: float) -> tuple[float, float]:
    """(molecules per second, seconds per step): two steps to warm up, then as many as that takes, three at least."""
    turn = cycle(batches)
    for batch in islice(turn, 2):
        step(batch)
    start, molecules, steps = time.process_time(), 0, 0
    while steps < 3 or time.process_time() - start < seconds:
        batch = next(turn)
        step(batch)
        molecules, steps = molecules + batch.num_graphs, steps + 1
    spent = time.process_time() - start
    return molecules / spent, spent / steps


def measure(source: str, name: str, config: Recipe, args: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Every network on the molecules of an SDF file."""
    store = str(folder / f"{name}.h5")
    prepare([source], store, progress=False)
    config.data.store = [store]
    data = ConformerDataModule(config.data, 0)
    epoch = SizedBatches(data.train.sizes(), config.data.batch_size, config.data.max_pairs, 0).epoch(0)
    chosen = sorted(epoch, key=lambda batch: data.train.sizes()[batch].mean())[len(epoch) // 2]
    items = [data.train[k] for k in np.random.default_rng(0).permutation(chosen)]
    whole, split = [Batch.from_data_list(items)], list(parts(items))
    for part in split:
        part.pairs = edges(part.pos, part.batch)
        bonds = torch.zeros(part.num_nodes, part.num_nodes)
        bonds[part.edge_index[0], part.edge_index[1]] = 1
        part.bonded = bonds[part.pairs[0], part.pairs[1]]
    print(f"{name}: {len(items)} molecules of {whole[0].num_nodes / len(items):.1f} atoms", flush=True)
    networks: dict[str, Any] = {OURS: lambda bf16, compiled: (*ours(data, config, bf16, compiled), whole)}
    for title, make in PEERS.items():
        networks[title] = lambda bf16, compiled, make=make: (*peer(make(), bf16, compiled), split)
    modes = [(False, False), (True, False), *([(True, True)] if args.compile else [])]
    for title, make in networks.items():
        for bf16, compiled in modes:
            torch.manual_seed(0)
            torch.compiler.reset()
            try:
                net, step, batches = make(bf16, compiled)
            except ImportError as error:
                print(f"{title}: left out, {error}; install the peers as this file's first lines say", flush=True)
                break
            rate, seconds = timed(step, batches, args.seconds)
            size = sum(p.numel() for p in net.parameters())
            yield Row(name, title, size, "bf16" if bf16 else "float32", compiled, rate, seconds)
            del net, step, batches
            gc.collect()


def plot(rows: list[Row], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(row.data for row in rows))
    figure, axes = plt.subplots(1, len(names), figsize=(4.6 * len(names), 4), sharey=True, layout="constrained")
    for axis, name in zip(axes, names, strict=True):
        part = [row for row in rows if row.data == name][::-1]
        colors = ["tab:blue" if row.network == OURS else "tab:gray" for row in part]
        labels = [f"{row.network}\n{row.mode}" for row in part]
        bars = axis.barh(labels, [row.molecules_per_second for row in part], color=colors)
        axis.bar_label(bars, fmt="%.3g", fontsize=7, padding=2)
        axis.set(title=name, xlabel="training molecules per second")
        axis.tick_params(axis="y", labelsize=7)
        axis.margins(x=0.15)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5, help="timed for each network")
    parser.add_argument("--compile", action="store_true", help="the networks compiled as well")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        sources = {
            "QM9": str(ROOT / "datasets" / "qm9_3000.sdf.gz"),
            "drug-like": drug_like(Path(folder) / "zinc.sdf"),
        }
        for name, source in sources.items():
            config = load_recipe(ROOT / "configs" / "conformers_cpu.yaml", ["data.repeat=[]", "data.val_store=''"])
            for row in measure(source, name, config, args, Path(folder)):
                rows.append(row)
                base = next(r for r in rows if (r.data, r.network, r.mode) == (row.data, OURS, row.mode))
                ratio = base.molecules_per_second / row.molecules_per_second
                cells = f"{row.network:22} {row.parameters / 1e6:5.2f} M  {row.mode:17}"
                rate = f"{row.molecules_per_second:8.1f} molecules/s, {row.seconds_per_step:6.2f} s per step"
                print(f"{cells} {rate}, ConformerNet {ratio:5.1f} x", flush=True)
    target = ROOT / "benchmarks" / "results" / "network_speed.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps({"machine": machine(), "rows": [asdict(row) for row in rows]}, indent=1) + "\n")
    plot(rows, target.with_suffix(".png"))


if __name__ == "__main__":
    main()
