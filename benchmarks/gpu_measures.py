"""How fast and how large: sampling over batch sizes, the largest that fits, a profile, molecules per second."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from gpu_setting import Setting, batch_of, loss_of, module_of, optimizer_of, peak_mb, seconds
from torch_geometric.data import Batch

from pyg_diffusion.data import MoleculeData, MoleculeStore
from pyg_diffusion.generate import GraphGenerator, Job
from pyg_diffusion.tasks.fields.generator import FieldGenerator
from pyg_diffusion.tasks.matrices.generator import MatrixInverter
from pyg_diffusion.train import DenoiserModule
from pyg_diffusion.weights_io import SHIPPED, Card, load_pretrained

ALL = 1 << 40  # a budget that splits no batch


class Drawer(GraphGenerator[Job]):
    """Draws molecules and judges nothing, which would take RDKit."""

    makes = "molecules"
    default_steps = 8


def _molecules(setting: Setting) -> Callable[[int], np.ndarray]:
    """Draws of the store's molecule of median size by the shipped weights, one batch."""
    denoiser, card = load_pretrained(SHIPPED)
    denoiser.autocast = False  # so that devices compare
    store = MoleculeStore(setting.store)
    data = store.data(int(np.argsort(store.sizes())[len(store) // 2]), None)
    data.level = card.model["levels"][0]
    generator = Drawer(denoiser, card, device=setting.device, budget=ALL)

    def draw(count: int) -> np.ndarray:
        jobs = [Job(data=data, key=(k,)) for k in range(count)]
        generator.draw(jobs, 3, 0)
        return np.stack([job.signal for job in jobs])

    return draw


def _untrained(setting: Setting, task: str, network: str) -> tuple[Any, Card]:
    recipe = setting.recipe(task, network)
    module = module_of(recipe)
    facts = module.data.card_facts()
    model = recipe.to_dict()["model"] | module.data.model_facts()
    return module.denoiser, Card(process=recipe.process.facts(), model=model, bf16=False, centered=False, **facts)


def _fields(setting: Setting) -> Callable[[int], np.ndarray]:
    denoiser, card = _untrained(setting, "fields", "graph")
    generator = FieldGenerator(denoiser, card, device=setting.device, steps=4 if setting.rehearse else None, max_nodes=ALL)
    return lambda count: generator.sample(count).numpy()


def _matrices(setting: Setting) -> Callable[[int], np.ndarray]:
    denoiser, card = _untrained(setting, "matrices", "matrix_energy")
    few = 2 if setting.rehearse else 10
    generator = MatrixInverter(denoiser, card, few, few, max_entries=ALL, device=setting.device)
    n = int(card.data["n"])
    return lambda count: generator.invert(np.random.default_rng(0).standard_normal((count, n, n))).numpy()


DRAWS = {"molecules": _molecules, "fields": _fields, "matrices": _matrices}
TOLERANCE = {"molecules": 0.05, "fields": 0.01, "matrices": 0.01}  # mean difference from the CPU's draw, molecules in Å


def sampling(setting: Setting) -> Iterator[dict[str, Any]]:
    """Sampling over batch sizes; first two draws beside those of the CPU from the same noise (float32)."""
    for task, make in DRAWS.items():
        here = make(Setting("cpu", setting.store, setting.folder, setting.rehearse))(2)
        draw = make(setting)
        difference = float(np.abs(draw(2) - here).mean())
        yield {"task": task, "mean_difference": difference, "ok": difference <= TOLERANCE[task]}
        for count in (1, 2, 8) if setting.rehearse else (1, 4, 16, 64, 256, 1024, 4096):
            work = lambda count=count, draw=draw: draw(count)  # noqa: E731
            try:
                spent, peak = seconds(setting.device, work, 1), peak_mb(setting.device, work)
            except RuntimeError as error:
                if "memory" not in str(error):
                    raise
                yield {"task": task, "batch": count, "said": "does not fit"}
                break
            yield {"task": task, "batch": count, "seconds": spent, "per_second": count / spent, "peak_mb": peak}


def chain(atoms: int) -> MoleculeData:
    """Carbons in a zigzag: a graph of any size, made without RDKit."""
    k = torch.arange(atoms)
    edges = torch.stack([k[:-1], k[1:]])
    return MoleculeData(
        x=torch.tensor([2, 2, 3, 0, 0, 2]).repeat(atoms, 1),
        z=torch.full((atoms,), 6),
        edge_index=torch.cat([edges, edges.flip(0)], 1),
        edge_attr=torch.ones(2 * atoms - 2, dtype=torch.long),
        tetra_index=torch.zeros(5, 0, dtype=torch.long),
        ez_index=torch.zeros(4, 0, dtype=torch.long),
        ez_attr=torch.zeros(0, dtype=torch.long),
        pos=torch.stack([1.26 * k, 0.85 * (k % 2), 0.0 * k], 1).float(),
        level="",
        name="chain",
        smiles="",
    )


def _step(module: DenoiserModule, batch: Batch, device: str) -> Callable[[], None]:
    """A whole training step."""
    module.to(device)
    optimizer = optimizer_of(module)

    def step() -> None:
        optimizer.zero_grad()
        loss_of(module, batch, device).backward()
        optimizer.step()

    return step


def _growing(setting: Setting, what: str, least: int, most: int, step_of: Callable[[int], Any]) -> Iterator[dict[str, Any]]:
    """Peak memory of a training step, the size doubled until the memory is not enough."""
    size = least
    while size <= most:
        try:
            step = step_of(size)
            peak = peak_mb(setting.device, step)
            yield {"what": what, "size": size, "peak_mb": peak, "seconds": seconds(setting.device, step, 1)}
        except RuntimeError as error:
            if "memory" not in str(error):
                raise
            yield {"what": what, "size": size, "said": "does not fit"}
            return
        size *= 2


def largest(setting: Setting) -> Iterator[dict[str, Any]]:
    """The largest molecule, field and batch of molecules that a training step fits."""
    device, few = setting.device, setting.rehearse
    module = module_of(setting.recipe("molecules", "conformer", exact_targets=[], bf16=setting.cuda))
    items = module.data.train
    median = items[int(np.argsort(module.data.sizes(items))[len(items) // 2])]

    def field(side: int) -> Callable[[], None]:
        grown = module_of(setting.recipe("fields", "graph", {"shape": [side, side], "num_samples": 2, "val_samples": 1}))
        return _step(grown, batch_of(grown, 1), device)

    molecule = lambda atoms: _step(module, Batch.from_data_list([chain(atoms)]), device)  # noqa: E731
    batch = lambda count: _step(module, Batch.from_data_list([median] * count), device)  # noqa: E731
    yield from _growing(setting, "atoms of one molecule", 32, 64 if few else 1 << 16, molecule)
    yield from _growing(setting, "molecules in a batch", 8, 16 if few else 1 << 20, batch)
    yield from _growing(setting, "side of a field", 8, 16 if few else 1 << 12, field)


def profile(setting: Setting) -> Iterator[dict[str, Any]]:
    """What three training steps of molecules spend their time on, by torch.profiler."""
    module = module_of(setting.recipe("molecules", "conformer", bf16=setting.cuda))
    step = _step(module, batch_of(module), setting.device)
    step()
    kinds = [torch.profiler.ProfilerActivity.CPU, *[torch.profiler.ProfilerActivity.CUDA] * setting.cuda]
    with torch.profiler.profile(activities=kinds) as profiler:
        for _ in range(3):
            step()
    key = "self_device_time_total" if setting.cuda else "self_cpu_time_total"
    rows = sorted(profiler.key_averages(), key=lambda row: -getattr(row, key))
    whole = sum(getattr(row, key) for row in rows)
    for row in rows[:15]:
        spent = getattr(row, key)
        yield {"operation": row.key, "calls": row.count, "milliseconds": spent / 1000, "share": spent / max(whole, 1e-9)}


def throughput(setting: Setting) -> Iterator[dict[str, Any]]:
    """Molecules per second in training and conformers per second in sampling, beside one core of the CPU."""
    threads = torch.get_num_threads()
    for where, device in (("device", setting.device), ("one core", "cpu")):
        torch.set_num_threads(1 if where == "one core" else threads)
        mine = Setting(device, setting.store, setting.folder, setting.rehearse)
        module = module_of(mine.recipe("molecules", "conformer", bf16=mine.cuda))
        batch = batch_of(module)
        spent = seconds(device, _step(module, batch, device), 2 if setting.rehearse else 10)
        yield {"what": "training, molecules per second", "where": where, "rate": batch.num_graphs / spent}
        count = 4 if setting.rehearse else 128
        draw = _molecules(mine)
        rate = count / seconds(device, lambda draw=draw, count=count: draw(count), 1)
        yield {"what": "sampling, conformers per second", "where": where, "rate": rate}
    torch.set_num_threads(threads)
