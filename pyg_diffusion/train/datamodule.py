"""Batches of conformers from prepared stores, as a pure function of (seed, step): what exact resuming needs."""

from collections.abc import Callable, Iterator

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader
from torch_geometric.utils import to_dense_batch

from ..data import MoleculeData, MoleculeStore
from ..data.properties import properties
from ..spectral import DenseOperator, PowerSpectrum
from .config import ConfigError, DataConfig


class ConformerItems(Dataset):
    """Conformers of several stores as `MoleculeData`; entry k of `index` is (store, molecule, conformer)."""

    def __init__(self, stores: list[MoleculeStore], index: np.ndarray):
        self.stores, self.index = stores, index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, k: int) -> MoleculeData:
        store, molecule, conformer = self.index[k]
        return self.stores[store][int(molecule)].data(int(conformer))

    def sizes(self) -> np.ndarray:
        """Atoms of each entry."""
        sizes = np.zeros(len(self.index), int)
        for k, store in enumerate(self.stores):
            mine = self.index[:, 0] == k
            sizes[mine] = store.sizes()[self.index[mine, 1]]
        return sizes


class SizedBatches(Sampler[list[int]]):
    """Endless shuffled batches of molecules of like size, starting at any step.

    Every epoch is shuffled anew by (seed, epoch); pools of `pool` batches are sorted by size, so that padding wastes little
    and batches still differ from epoch to epoch. Under DDP rank r of w takes every w-th batch.

    Args:
        sizes: atoms of each entry.
        batch_size, max_pairs: a batch ends at this many entries, or padded atom pairs.
        start: called when iteration begins, gives the step to begin with.
    """

    pool = 50

    def __init__(
        self,
        sizes: np.ndarray,
        batch_size: int,
        max_pairs: int,
        seed: int,
        start: Callable[[], int] = lambda: 0,
        rank: int = 0,
        world: int = 1,
    ):
        self.sizes, self.batch_size, self.max_pairs, self.seed = sizes, batch_size, max_pairs, seed
        self.start, self.rank, self.world = start, rank, world

    def epoch(self, epoch: int) -> list[np.ndarray]:
        """All batches of one epoch, the same on every rank; their number is a multiple of `world`."""
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.sizes))
        batches = []
        for chunk in np.array_split(order, max(1, round(len(order) / (self.pool * self.batch_size)))):
            chunk = chunk[np.argsort(self.sizes[chunk], kind="stable")]
            cut: list[int] = []
            for k in chunk:  # ascending, so the newest entry is the largest
                if cut and (len(cut) == self.batch_size or (len(cut) + 1) * int(self.sizes[k]) ** 2 > self.max_pairs):
                    batches.append(np.array(cut))
                    cut = []
                cut.append(int(k))
            if cut:
                batches.append(np.array(cut))
        batches = [batches[k] for k in rng.permutation(len(batches))]
        return batches + [batches[k % len(batches)] for k in range(-len(batches) % self.world)]

    def __iter__(self) -> Iterator[list[int]]:
        skip, epoch = self.start() * self.world, 0
        while True:
            batches = self.epoch(epoch)
            if skip < len(batches):
                for batch in batches[skip + self.rank :: self.world]:
                    yield batch.tolist()
            skip = max(0, skip - len(batches))
            epoch += 1


class ConformerDataModule(L.LightningDataModule):
    """Training and validation conformers of the stores that a recipe names."""

    def __init__(self, config: DataConfig, seed: int):
        super().__init__()
        if not config.store:
            raise ConfigError("data.store: name at least one store; 'pyg-diffusion prepare INPUT -o STORE.h5' makes one")
        self.config, self.seed = config, seed
        self.stores = [MoleculeStore(path) for path in config.store]
        tables = []
        for k, store in enumerate(self.stores):
            table = store.conformer_index()
            tables.append(np.concatenate([np.full((len(table), 1), k), table], axis=1))
        index = np.concatenate(tables)
        if not len(index):
            raise ConfigError(f"{', '.join(config.store)}: no conformers to train on")
        if config.val_store:
            held = MoleculeStore(config.val_store)
            self.val = ConformerItems([held], np.insert(held.conformer_index(), 0, 0, axis=1))
        else:  # by SMILES, so that no molecule is on both sides, whatever its atom order or store
            names = [np.array(store.smiles()) for store in self.stores]
            smiles = np.concatenate([name[table[:, 1]] for name, table in zip(names, tables, strict=True)])
            molecules = np.unique(smiles)
            count = max(1, round(config.val_fraction * len(molecules)))
            chosen = molecules[np.random.default_rng([seed, 1]).permutation(len(molecules))[:count]]
            mine = np.isin(smiles, chosen)
            if mine.all():
                raise ConfigError("one molecule alone cannot be split into training and validation; give data.val_store")
            self.val = ConformerItems(self.stores, index[mine])
            index = index[~mine]
        if not len(self.val):
            raise ConfigError(f"{config.val_store}: no conformers to validate on")
        repeat = np.array(config.repeat or [1] * len(self.stores))
        self.train = ConformerItems(self.stores, np.repeat(index, repeat[index[:, 0]], axis=0))

    def elements(self) -> list[int]:
        """Atomic numbers in the training conformers, sorted."""
        found: set[int] = set()
        for k, store in enumerate(self.stores):
            used = np.zeros(len(store), bool)
            used[self.train.index[self.train.index[:, 0] == k, 1]] = True
            found.update(np.unique(store.arrays["atom/z"][np.repeat(used, store.sizes())]).tolist())
        return sorted(found)

    def conditions(self, names: list[str], sample: int = 4000) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of properties over the training conformers, `[len(names)]` each."""
        chosen = np.random.default_rng([self.seed, 3]).permutation(len(self.train))[:sample]
        batch = Batch.from_data_list([self.train[int(k)] for k in chosen])
        values = properties(names, *to_dense_batch(batch.pos, batch.batch))
        return values.mean(0), values.std(0, correction=0).clamp_min(1e-3)

    def spectrum(self, sample: int = 4000) -> PowerSpectrum:
        """p(λ) of the training coordinates: |Ŝ|² averaged over x, y, z, null modes left out."""
        chosen = np.random.default_rng([self.seed, 2]).permutation(len(self.train))[:sample]
        values, powers = [], []
        for part in np.array_split(chosen, max(1, len(chosen) // 256)):
            batch = Batch.from_data_list([self.train[int(k)] for k in part])
            operator = DenseOperator.from_edges(batch.edge_index, batch.num_nodes, batch=batch.batch).to(torch.float32)
            free = operator.mode_mask & (operator.eigenvalues > 0)
            values.append(operator.eigenvalues[free])
            powers.append(operator.to_modes(batch.pos).square().mean(-1)[free])
        lam = torch.cat(values)
        return PowerSpectrum.fit(lam, torch.cat(powers)) if lam.numel() > 1 else PowerSpectrum.harmonic()

    def _loader(self, items: ConformerItems, batches) -> DataLoader:
        workers = self.config.workers
        return DataLoader(items, batch_sampler=batches, num_workers=workers, persistent_workers=workers > 0)

    def train_dataloader(self) -> DataLoader:
        trainer = self.trainer
        assert trainer is not None
        batches = SizedBatches(
            self.train.sizes(),
            self.config.batch_size,
            self.config.max_pairs,
            self.seed,
            lambda: trainer.global_step,
            trainer.global_rank,
            trainer.world_size,
        )
        return self._loader(self.train, batches)

    def val_dataloader(self) -> DataLoader:
        batches = SizedBatches(self.val.sizes(), self.config.batch_size, self.config.max_pairs, 0).epoch(0)
        return self._loader(self.val, [b.tolist() for b in batches])
