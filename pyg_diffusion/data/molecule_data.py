"""`MoleculeData`: what one conformer of one molecule looks like as a PyG `Data`."""

from torch import Tensor
from torch_geometric.data import Data


class MoleculeData(Data):
    """One conformer. All tensors are ragged-safe, so PyG batches them as they are.

    Attributes:
        x: categorical atom features (columns of `schema.ATOM_FEATURES`), `[N, F]` int64.
        z: atomic numbers, `[N]`.
        pos: coordinates in Å, `[N, 3]`.
        edge_index, edge_attr: both directions of every bond, class of `schema.BOND_TYPES`, `[2, E]`, `[E]`.
        tetra_index: one column per stereocentre: (centre, a, b, c, d) with det(a-d, b-d, c-d) > 0 wanted; d is the centre
            itself where it has three neighbours, `[5, T]`.
        ez_index, ez_attr: one column per stereo double bond: (a, i, j, b) around i=j and whether a and b lie `CIS` or
            `TRANS`, `[4, B]`, `[B]`.
        edge_weight: weights of the bonds, `[E]`, written by `AddBondWeights`; without it all are 1.
        eigenvalues, eigenvectors: spectrum of the bond graph's Laplacian, `[N]` and row-major `[N²]` (flat, so that
            batches concatenate), written by `AddLaplacianSpectrum`.
        second: which atoms are hydrogens that are drawn when the others are known, `[N]` bool, written by
            `chem.skeleton.whole_data`.
        level: name of the level of theory of `pos`, "" where unknown.
        name, smiles: strings.

    Example:
        >>> from rdkit import Chem
        >>> from pyg_diffusion.chem import molecule_from_mol
        >>> data = molecule_from_mol(Chem.MolFromSmiles("C=O")).data(conformer=None)
        >>> data.z, data.edge_index, data.smiles
        (tensor([6, 8]), tensor([[0, 1],
                [1, 0]]), 'C=O')
    """

    def spectrum(self) -> tuple[Tensor, Tensor]:
        """(λ `[N]`, U `[N, N]`) of a single molecule that went through `AddLaplacianSpectrum`."""
        n = self.num_nodes
        return self.eigenvalues, self.eigenvectors.view(n, n)
