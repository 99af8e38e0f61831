"""Training throughput of the conformer recipe, eager and compiled: molecules per second, everything counted.

    python benchmarks/training.py [--threads 1] [--seconds 30]

Runs the real training step (batch from the store, Laplacian spectra, forward, backward, optimizer) on the bundled QM9
molecules. Prints the table, writes benchmarks/results/training.json and .png.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from machine import cpu_model, machine
from torch_geometric.data import Batch

from pyg_diffusion.chem.prepare import prepare
from pyg_diffusion.train import ConformerDataModule, DenoiserModule, load_config
from pyg_diffusion.train.datamodule import SizedBatches

ROOT = Path(__file__).parent.parent


def measure(config, store: str, seconds: float, compiled: bool) -> dict[str, float]:
    """Molecules per second and the share of a step spent outside the network and optimizer."""
    config.data.store = [store]
    data = ConformerDataModule(config.data, 0)
    module = DenoiserModule(config, data.spectrum())
    if compiled:
        module.denoiser.net.trunk_compile()
    optimizer = module.configure_optimizers()["optimizer"]
    generator = torch.Generator().manual_seed(0)
    batches = iter(SizedBatches(data.train.sizes(), config.data.batch_size, config.data.max_pairs, 0))

    def step() -> tuple[int, float]:
        start = time.perf_counter()
        batch = Batch.from_data_list([data.train[k] for k in next(batches)])
        loading = time.perf_counter() - start
        module._losses(batch, generator, config.train.stage_weight)[0].mean().backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), config.optimizer.clip)
        optimizer.step()
        optimizer.zero_grad()
        return batch.num_graphs, loading

    warm = time.perf_counter()
    for _ in range(10):
        step()
    warm = time.perf_counter() - warm
    start, molecules, loading, steps = time.perf_counter(), 0, 0.0, 0
    while time.perf_counter() - start < seconds:
        made, spent = step()
        molecules, loading, steps = molecules + made, loading + spent, steps + 1
    spent = time.perf_counter() - start
    return {
        "molecules per second": molecules / spent,
        "seconds per step": spent / steps,
        "share spent loading": loading / spent,
        "seconds to the tenth step": warm,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=30)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "qm9.h5")
        prepare([str(ROOT / "datasets" / "qm9_3000.sdf.gz")], store, progress=False)
        for name, bf16, compiled in (
            ("float32, eager", False, False),
            ("bf16, eager", True, False),
            ("bf16, compiled", True, True),
        ):
            config = load_config(ROOT / "configs" / "conformers_cpu.yaml", ["data.repeat=[]", "data.val_store=''"])
            config.train.bf16 = bf16
            rows[name] = measure(config, store, args.seconds, compiled)
            print(f"{name:16s}" + "".join(f"  {key} {value:.3g}" for key, value in rows[name].items()), flush=True)
    print(f"{cpu_model()}, {args.threads} thread(s)")
    target = ROOT / "benchmarks" / "results" / "training"
    target.parent.mkdir(exist_ok=True)
    target.with_suffix(".json").write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    figure, axis = plt.subplots(figsize=(5, 2.6), layout="constrained")
    axis.barh(list(rows), [row["molecules per second"] for row in rows.values()])
    axis.set(xlabel="training molecules per second", title=f"QM9, {args.threads} thread(s)")
    figure.savefig(target.with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
