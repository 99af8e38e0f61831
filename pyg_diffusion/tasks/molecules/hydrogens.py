"""Training of the second stage: hydrogens given all other atoms."""

import torch
from torch import Tensor
from torch_geometric.data import Batch

from ...chem.skeleton import whole_data
from ...data import MoleculeData
from ...nn.hydrogen_net import DRAWS, HydrogenNet
from ...train.datamodule import Draws
from ...train.module import DenoiserModule
from .data import ConformerDataModule, ConformerItems


class HydrogenItems(ConformerItems):
    """Whole conformers that tell which hydrogens go second; entry k as in `ConformerItems`."""

    def __getitem__(self, k: int) -> MoleculeData:
        store, molecule, conformer = self.index[k].tolist()
        return whole_data(self.stores[store].molecule(molecule, [conformer]))


class HydrogenDataModule(ConformerDataModule):
    """The conformers of `ConformerDataModule`, whole."""

    items = HydrogenItems


class HydrogenModule(DenoiserModule):
    """Trains a `HydrogenNet`; its loss takes the place of the denoising loss, and validation tells the two parts of it."""

    def _losses(self, batch: Batch, draws: Draws, training: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mirror = torch.where(draws.graph_uniform(1) < 0.5, -1.0, 1.0)
        shown = batch.clone()
        shown.pos = batch.pos * mirror[batch.batch]
        net = self.denoiser.net
        assert isinstance(net, HydrogenNet)
        losses, error, entropy = net.loss(shown, draws.node_normal(DRAWS))
        if not training:
            self.log("val/error", error.mean(), batch_size=batch.num_graphs, sync_dist=True)
            self.log("val/entropy", entropy.mean(), batch_size=batch.num_graphs, sync_dist=True)
        return losses, losses, torch.zeros_like(losses), torch.ones_like(losses)

    def on_validation_epoch_end(self) -> None:
        """There are no noise levels to tell apart."""
