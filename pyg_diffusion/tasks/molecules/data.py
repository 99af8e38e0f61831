"""Conformers of prepared stores as training data."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Batch, Data
from torch_geometric.utils import scatter, to_dense_batch

from ...chem.skeleton import skeleton, skeleton_sizes
from ...data import MoleculeData, MoleculeStore, schema
from ...data.properties import properties
from ...data.symmetry import automorphisms
from ...mining import MINERS
from ...nn.registry import NETWORKS
from ...posterior import Candidates
from ...spectral import DenseOperator, LaplacianOperator, PowerSpectrum
from ...train.datamodule import Draws, SignalDataModule
from ...train.module import DenoiserModule
from ...train.recipe import Process, Recipe, RecipeError
from ...transforms import fit_bond_weights
from ...transforms.bond_weights import NoBondWeight
from ...weights_io import load_pretrained
from .dataset import DatasetStore
from .laplacian import MoleculeLaplacian
from .recipe import MoleculesData


class ConformerItems(Dataset):
    """Conformers of several stores as `MoleculeData`; entry k of `index` is (store, molecule, conformer).

    With `skeletons` they lack the hydrogens that are drawn second.

    For exact targets an item also holds what else its coordinates may have been (see `posterior.Candidates`): with "labels"
    in `exact`, `label_index [P·N]`, the permutations of `automorphisms` one after the other, and `label_batch [P]`, 0 that
    becomes the number of the graph in a batch; with "ensemble", `ensemble_pos [K·N, 3]` and `ensemble_batch [K]`, all
    conformers of the molecule at its level in the store.

    Attributes:
        lowest: items also hold `reference [N, 3]`, the conformer of the lowest energy at this level in the store.
        minima: items also hold `minima_pos [K·N, 3]`, `minima_energy [K]` in kcal/mol above theirs and `minima_batch [K]`:
            themselves, and the conformers of higher energy at this level in the store.
        laplacian: what items hold of theirs, weights of bonds and, where those are cached, spectra.
    """

    def __init__(self, stores: list[MoleculeStore], index: np.ndarray, skeletons: bool = False, exact: Sequence[str] = ()):
        self.stores, self.index, self.skeletons, self.exact = stores, index, skeletons, tuple(exact)
        self.lowest, self.minima, self.laplacian = False, False, MoleculeLaplacian()
        self._labels: dict[tuple[int, int], Tensor] = {}  # found once per molecule and process
        self._spectra: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, k: int) -> MoleculeData:
        store, molecule, conformer = self.index[k].tolist()
        chosen = [conformer]
        if "ensemble" in self.exact or self.lowest or self.minima:
            levels = self.stores[store].levels_of(molecule)
            chosen = [k for k, level in enumerate(levels) if level == levels[conformer]]
        found = self.stores[store].molecule(molecule, chosen)
        energies = found.energies
        if self.skeletons:
            found = skeleton(found).molecule
        data = self.laplacian.weighed(found.data(chosen.index(conformer)))
        if self.laplacian.spectra == "cached":
            if (store, molecule) not in self._spectra:
                self._spectra[store, molecule] = self.laplacian.spectrum(data)
            data.eigenvalues, data.eigenvectors = self._spectra[store, molecule]
        if "labels" in self.exact:
            if (store, molecule) not in self._labels:
                self._labels[store, molecule] = automorphisms(data).to(torch.int16)
            labels = self._labels[store, molecule].long()
            data.label_index, data.label_batch = labels.flatten(), labels.new_zeros(len(labels))
        if "ensemble" in self.exact:
            data.ensemble_pos = torch.from_numpy(np.concatenate(found.pos))
            data.ensemble_batch = torch.zeros(len(chosen), dtype=torch.long)
        source = self.stores[store]
        if isinstance(source, DatasetStore):
            source.complete(data, molecule, conformer)
        if self.lowest:
            known = [k for k, energy in enumerate(energies) if np.isfinite(energy)]
            best = min(known, key=energies.__getitem__, default=chosen.index(conformer))
            data.reference = torch.from_numpy(found.pos[best])
        if self.minima:
            mine = chosen.index(conformer)
            above = np.array(energies or [np.nan] * len(chosen), np.float32) - (energies[mine] if energies else 0.0)
            higher = [mine, *np.flatnonzero(above > 0).tolist()]
            above[mine] = 0
            data.minima_pos = torch.from_numpy(np.concatenate([found.pos[k] for k in higher]))
            data.minima_energy = torch.from_numpy(above[higher])
            data.minima_batch = torch.zeros(len(higher), dtype=torch.long)
        return data

    def sizes(self) -> np.ndarray:
        """Atoms of each entry."""
        sizes = np.zeros(len(self.index), int)
        for k, store in enumerate(self.stores):
            mine = self.index[:, 0] == k
            sizes[mine] = (skeleton_sizes(store) if self.skeletons else store.sizes())[self.index[mine, 1]]
        return sizes


def rotations(q: Tensor) -> Tensor:
    """Rotations of quaternions `[n, 4]` of any length, `[n, 3, 3]`; Haar-random if those are normal."""
    w, x, y, z = (q / q.norm(dim=1, keepdim=True)).unbind(1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=1).view(-1, 3, 3)


class ConformerDataModule(SignalDataModule):
    """Training and validation conformers of the stores that a recipe names, shown in random orientation and handedness.

    A reflected molecule is the other enantiomer, of equal energy: half of the samples are reflected, with the wanted order
    of every stereocentre reversed.

    Args:
        conditioned: properties that the model is conditioned on.
        exact: what exact targets average over (`Recipe.exact_targets`).

    Attributes:
        laplacian: of the unit weights, until `use` says otherwise.
        on_atoms: the network is one for any graph, to be told that nodes are atoms.
    """

    on_atoms = False
    items = ConformerItems
    config: MoleculesData
    train: ConformerItems
    val: ConformerItems

    def __init__(self, config: MoleculesData, seed: int, conditioned: Sequence[str] = (), exact: Sequence[str] = ()):
        super().__init__(config, seed)
        self.conditioned, self.exact, self.max_pairs = list(conditioned), tuple(exact), config.max_pairs
        self.sources = [Path(path).name for path in config.store]
        if not (config.store or config.dataset):
            raise RecipeError("data.store: name at least one store ('pyg-diffusion prepare' makes one), or a data.dataset")
        self.stores = [MoleculeStore(path) for path in config.store]
        if config.dataset:
            self.stores, self.sources = [DatasetStore(config)], [config.dataset]
        second = config.hydrogens == "second"
        tables = []
        for k, store in enumerate(self.stores):
            table = store.conformer_index()
            tables.append(np.concatenate([np.full((len(table), 1), k), table], axis=1))
        index = np.concatenate(tables)
        if not len(index):
            raise RecipeError(f"{', '.join(config.store)}: no conformers to train on")
        if config.val_store:
            held = MoleculeStore(config.val_store)
            self.val = self.items([held], np.insert(held.conformer_index(), 0, 0, axis=1), second, exact)
        else:
            mine = self._latest(index) if config.split == "time" else self._whole_molecules(index, tables)
            self.val = self.items(self.stores, index[mine], second, exact)
            index = index[~mine]
        if not len(self.val):
            raise RecipeError(f"{config.val_store}: no conformers to validate on")
        repeat = np.array(config.repeat or [1] * len(self.stores))
        self.train = self.items(self.stores, np.repeat(index, repeat[index[:, 0]], axis=0), second, exact)
        self.train.lowest = config.reference == "lowest"
        self.use(MoleculeLaplacian())

    def _whole_molecules(self, index: np.ndarray, tables: Sequence[np.ndarray]) -> np.ndarray:
        """Which conformers are of molecules that are held out, by SMILES, so that no molecule is on both sides, whatever its
        atom order or store."""
        names = [np.array(store.smiles()) for store in self.stores]
        smiles = np.concatenate([name[table[:, 1]] for name, table in zip(names, tables, strict=True)])
        molecules = np.unique(smiles)
        count = max(1, round(self.config.val_fraction * len(molecules)))
        chosen = molecules[np.random.default_rng([self.seed, 1]).permutation(len(molecules))[:count]]
        mine = np.isin(smiles, chosen)
        if mine.all():
            raise RecipeError(
                "one molecule alone cannot be split into training and validation; give data.val_store, or data.split: time, "
                "which holds out its last conformers"
            )
        return mine

    def _latest(self, index: np.ndarray) -> np.ndarray:
        """Which conformers are the last of their molecules: of one alone none is."""
        counts = [np.diff(store.arrays["molecule/conformer_ptr"]) for store in self.stores]
        count = np.concatenate([of[of > 0].repeat(of[of > 0]) for of in counts])
        held = np.where(count > 1, np.maximum(1, np.round(self.config.val_fraction * count)), 0)
        mine: np.ndarray = index[:, 2] >= count - held
        if not mine.any() or mine.all():
            raise RecipeError("data.split: time holds out the last conformers of each molecule, and none has two")
        return mine

    def use(self, laplacian: MoleculeLaplacian) -> None:
        """Take this Laplacian from now on.

        Raises:
            RecipeError: a bond in the stores has no weight.
        """
        for store in {id(store): store for store in (*self.train.stores, *self.val.stores)}.values():
            _check_bonds(store, laplacian)
        self.laplacian = self.train.laplacian = self.val.laplacian = laplacian
        self.centered = not laplacian.normalized

    def bond_weights(self, process: Process, sample: int = 4000) -> dict[str, float]:
        """Weights of bonds fitted to training conformers (`transforms.fit_bond_weights`)."""
        return fit_bond_weights(self.batches(4, sample), process.gamma, process.lambda0)

    def batches(self, stream: int, sample: int) -> Iterator[Batch]:
        """Training conformers drawn at random, a few hundred in each batch."""
        chosen = np.random.default_rng([self.seed, stream]).permutation(len(self.train))[:sample]
        for part in np.array_split(chosen, max(1, len(chosen) // 256)):
            yield Batch.from_data_list([self.train[int(k)] for k in part])

    def elements(self) -> list[int]:
        """Atomic numbers in the training conformers, sorted."""
        return np.unique(self._trained_atoms("atom/z")).tolist()

    def domain(self) -> dict[str, Any]:
        """Atoms of the largest training molecule, and the formal charges of atoms in the training conformers, sorted."""
        charges = self._trained_atoms("atom/x")[:, list(schema.ATOM_FEATURES).index("charge")].astype(int) - 2
        whole = ConformerItems(self.stores, self.train.index)
        return {"max_atoms": int(whole.sizes().max()), "charges": np.unique(charges).tolist()}

    def _trained_atoms(self, column: str) -> np.ndarray:
        """A column of the stores, for the atoms of the molecules that are trained on."""
        rows = []
        for k, store in enumerate(self.stores):
            used = np.zeros(len(store), bool)
            used[self.train.index[self.train.index[:, 0] == k, 1]] = True
            rows.append(store.arrays[column][np.repeat(used, store.sizes())])
        return np.concatenate(rows)

    def levels(self) -> set[str]:
        return {level for store in self.stores for level in store.levels if level}

    def sizes(self, items: Dataset) -> np.ndarray:
        assert isinstance(items, ConformerItems)
        return items.sizes()

    def model_facts(self) -> dict[str, Any]:
        return {"atoms": True} if self.on_atoms else {}

    def card_facts(self) -> dict[str, Any]:
        data = {"kind": "molecules", "hydrogens": self.config.hydrogens, **self.laplacian.facts()}
        if self.config.level_limits:
            data["level_limits"] = self.config.level_limits
        return {"elements": self.elements(), "data": data, "domain": self.domain()}

    def present(self, batch: Batch, draws: Draws) -> tuple[LaplacianOperator, Tensor, Batch]:
        turn = rotations(draws.graph_normal(4))
        mirror = draws.graph_uniform(1)[:, 0] < 0.5
        turn = torch.where(mirror[:, None, None], -turn, turn)
        pos = torch.einsum("ni,nij->nj", self._placed(batch.pos, batch.batch, batch.num_graphs), turn[batch.batch])
        reflected = mirror[batch.batch[batch.tetra_index[0]]]
        swapped = batch.tetra_index[[0, 2, 1, 3, 4]]
        told = batch.clone()
        told.tetra_index = torch.where(reflected, swapped, batch.tetra_index)
        for name in ("ensemble", "minima"):
            if f"{name}_pos" in batch:
                others, graph = batch[f"{name}_pos"], batch[f"{name}_batch"]
                hand = torch.where(mirror[graph], -1.0, 1.0)
                length = batch.ptr.diff()[graph]
                owner = torch.arange(length.numel(), device=length.device)
                owner = owner.repeat_interleave(length, output_size=others.size(0))
                told[f"{name}_pos"] = self._placed(others, owner, length.numel()) * hand[owner, None]
        if "reference" in batch:
            told.reference = batch.reference * torch.where(mirror, -1.0, 1.0)[batch.batch, None]
        if self.conditioned:
            told.condition = properties(self.conditioned, *to_dense_batch(pos, batch.batch))
        return self.laplacian.operator(batch), pos, told

    def _placed(self, pos: Tensor, owner: Tensor, count: int) -> Tensor:
        """Conformers about their centre, where a translation is no mode of L and so would be noised and learned."""
        return pos if self.centered else pos - scatter(pos, owner, dim_size=count, reduce="mean")[owner]

    def candidates(self, operator: LaplacianOperator, x_0: Tensor, told: Batch) -> Candidates | None:
        if not self.exact:
            return None
        assert isinstance(operator, DenseOperator)
        mirror = None
        if "mirror" in self.exact:  # a molecule that has no centre told is its own mirror image to the network
            centres = told.batch.new_zeros(told.num_graphs).index_add(
                0, told.batch[told.tetra_index[0]], torch.ones_like(told.tetra_index[0])
            )
            mirror = centres == 0
        ensemble = (told.ensemble_pos, told.ensemble_batch) if "ensemble" in self.exact else None
        labels = (told.label_index, told.label_batch) if "labels" in self.exact else None
        return Candidates.of(operator, x_0, ensemble, labels, mirror)

    def conditions(self, names: Sequence[str], sample: int = 4000) -> tuple[Tensor, Tensor]:
        chosen = np.random.default_rng([self.seed, 3]).permutation(len(self.train))[:sample]
        batch = Batch.from_data_list([self.train[int(k)] for k in chosen])
        values = properties(names, *to_dense_batch(batch.pos, batch.batch))
        return values.mean(0), values.std(0, correction=0).clamp_min(1e-3)

    def spectrum(self, sample: int = 4000) -> PowerSpectrum:
        """p(λ) of the training coordinates: |Ŝ|² averaged over x, y, z.

        Null modes are left out where they are translations; of a normalised L they are seen, and have a knot of their own.
        """
        values, powers, nulls = [], [], []
        for batch in self.batches(2, sample):
            operator = self.laplacian.dense(batch)
            free = operator.mode_mask & (operator.eigenvalues > 0)
            power = operator.to_modes(self._placed(batch.pos, batch.batch, batch.num_graphs)).square().mean(-1)
            values.append(operator.eigenvalues[free])
            powers.append(power[free])
            nulls.append(power[operator.mode_mask & ~free])
        lam, null = torch.cat(values), None if self.centered else torch.cat(nulls).mean()
        return PowerSpectrum.fit(lam, torch.cat(powers), null=null) if lam.numel() > 1 else PowerSpectrum.harmonic()


def _check_bonds(store: MoleculeStore, laplacian: MoleculeLaplacian) -> None:
    """Raises RecipeError where a bond has no weight: now, and not in the middle of an epoch."""
    arrays = store.arrays
    owner = np.repeat(np.arange(len(store)), np.diff(arrays["molecule/bond_ptr"]))
    bonds = arrays["bond/index"].astype(np.int64) + arrays["molecule/atom_ptr"][owner, None]
    tensors = [torch.from_numpy(a.astype(np.int64)) for a in (arrays["atom/z"], bonds.T, arrays["bond/type"])]
    try:
        laplacian.weighed(Data(z=tensors[0], edge_index=tensors[1], edge_attr=tensors[2]))
    except NoBondWeight as error:
        raise RecipeError(f"data.weight: {store.path}: {error}") from error


def datamodule(recipe: Recipe) -> ConformerDataModule:
    """Of the network's stage."""
    from .hydrogens import HydrogenDataModule

    data = recipe.data
    assert isinstance(data, MoleculesData)
    second = recipe.model.kind == "hydrogen"
    kind = HydrogenDataModule if second else ConformerDataModule
    module = kind(data, recipe.train.seed, recipe.model.conditions, recipe.exact_targets)
    module.on_atoms = "atoms" in NETWORKS[recipe.model.kind].facts
    if "minima_pos" in MINERS[recipe.train.miner].needs:
        if not any(np.isfinite(store.arrays["conformer/energy"]).any() for store in module.stores):
            raise RecipeError(
                f"train.miner: {recipe.train.miner} reads energies of conformers, and the stores have none; "
                "'pyg-diffusion prepare --conformers' makes ensembles with energies"
            )
        module.train.minima = True
    if not second:
        module.use(_laplacian(recipe, module))
    return module


def _laplacian(recipe: Recipe, module: ConformerDataModule) -> MoleculeLaplacian:
    """That of the recipe; learned weights are those of the weights to begin with, or fitted to the conformers."""
    asked, source = MoleculeLaplacian.of(recipe.data.model_dump()), recipe.train.init_from
    if source:
        theirs = MoleculeLaplacian.of(load_pretrained(source)[1].data)
        for name in ("weight", "normalized", "backend", "modes"):
            if getattr(theirs, name) != getattr(asked, name):
                raise RecipeError(f"{source} was trained with data.{name}: {getattr(theirs, name)}; begin with the same")
        return asked.model_copy(update={"bonds": theirs.bonds})
    if asked.weight == "learned":
        return asked.model_copy(update={"bonds": module.bond_weights(recipe.process)})
    return asked


def module(recipe: Recipe) -> type[DenoiserModule]:
    """What trains the network's stage."""
    from .hydrogens import HydrogenModule

    return HydrogenModule if recipe.model.kind == "hydrogen" else DenoiserModule
