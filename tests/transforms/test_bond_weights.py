import gzip
from pathlib import Path

import pytest
import torch
from rdkit import Chem
from torch_geometric.data import Batch

from pyg_diffusion.chem import molecule_from_mol
from pyg_diffusion.data import MoleculeData, laplacian_operator
from pyg_diffusion.data.schema import BOND_TYPES, COVALENT_RADII, ELEMENTS
from pyg_diffusion.transforms import AddBondWeights, AddLaplacianSpectrum

DATASETS = Path(__file__).parents[2] / "datasets"
WORST = {"single": 0.03, "conjugated": 0.035, "double": 0.035, "triple": 0.015, "aromatic": 0.045}  # Å


def molecule(smiles: str) -> MoleculeData:
    return molecule_from_mol(Chem.AddHs(Chem.MolFromSmiles(smiles))).data(None)


def test_orders_are_those_of_rdkit():
    mol = Chem.AddHs(Chem.MolFromSmiles("C=CC(=O)Nc1ccsc1C#N"))
    data = AddBondWeights("order")(molecule_from_mol(mol).data(None))
    assert {BOND_TYPES[k] for k in data.edge_attr.tolist()} == set(WORST)
    for (i, j), w in zip(data.edge_index.T.tolist(), data.edge_weight.tolist(), strict=True):
        assert w == mol.GetBondBetweenAtoms(i, j).GetBondTypeAsDouble()


@pytest.mark.parametrize("file", ["qm9_3000", "dft8k_200"])
def test_lengths_are_those_of_real_molecules(file):
    """Measured: 0.027 Å (55,937 bonds of QM9) and 0.024 Å (6,814 of drug-like molecules) on average."""
    add, errors, types = AddBondWeights("length"), [], []
    with gzip.open(DATASETS / f"{file}.sdf.gz") as stream:
        for k, mol in enumerate(Chem.ForwardSDMolSupplier(stream, removeHs=False)):
            if k == 300:
                break
            data = add(molecule_from_mol(mol).data())
            i, j = data.edge_index
            errors.append((3 / data.edge_weight).sqrt() - (data.pos[i] - data.pos[j]).norm(dim=1))
            types.append(data.edge_attr)
    error, kind = torch.cat(errors), torch.cat(types)
    assert error.abs().mean() < 0.03 and error.abs().max() < 0.4
    for name, worst in WORST.items():
        of_kind = error[kind == BOND_TYPES.index(name)]
        assert of_kind.numel() > 50 and of_kind.abs().mean() < worst and of_kind.mean().abs() < 0.03, name


def test_under_the_harmonic_prior_a_bond_of_a_tree_has_its_length():
    data = AddBondWeights("length")(molecule("CC(=O)N(C)CCl"))
    n, (i, j) = data.num_nodes, data.edge_index
    w = torch.zeros(n, n, dtype=torch.float64)
    w[i, j] = data.edge_weight.double()
    covariance = torch.linalg.pinv(w.sum(1).diag() - w)
    square = 3 * (covariance[i, i] + covariance[j, j] - 2 * covariance[i, j])
    radius = {z: r[0] for z, r in COVALENT_RADII.items()}
    single = data.edge_attr == BOND_TYPES.index("single")
    expected = torch.tensor(
        [radius[int(data.z[a])] + radius[int(data.z[b])] for a, b in data.edge_index.T], dtype=torch.float64
    )
    torch.testing.assert_close(square[single].sqrt(), expected[single], rtol=1e-6, atol=0)
    torch.testing.assert_close(square.sqrt(), (3 / data.edge_weight.double()).sqrt(), rtol=1e-6, atol=0)


def test_both_directions_agree_and_the_input_is_left_alone():
    data = molecule("OC=CC#N")
    out = AddBondWeights("length")(data)
    assert "edge_weight" not in data and out.edge_weight.dtype == torch.float32
    forth, back = out.edge_weight.chunk(2)
    assert torch.equal(forth, back)
    assert AddBondWeights()(molecule("[Na+].[Cl-]")).edge_weight.shape == (0,)
    AddBondWeights("length")(molecule("[Na+].[Cl-]"))  # an atom without bonds needs no radius


def test_weights_reach_the_spectrum_and_the_operator():
    molecules = [molecule(s) for s in ("OC=CC#N", "CC", "[Na+].[Cl-]")]
    weighted = Batch.from_data_list([AddLaplacianSpectrum()(AddBondWeights("length")(m)) for m in molecules])
    assert laplacian_operator(weighted).reason == "stored spectrum"
    unit = Batch.from_data_list([AddLaplacianSpectrum()(m) for m in molecules])
    assert float((weighted.eigenvalues - unit.eigenvalues).abs().max()) > 0.5


def test_no_weight_is_made_up():
    with pytest.raises(ValueError, match="bond 0-1 of type 'single' between atomic numbers 6 and 80 has no length"):
        AddBondWeights("length")(molecule("C[Hg]C"))
    assert bool((AddBondWeights("order")(molecule("C[Hg]C")).edge_weight == 1).all())
    for kind in ("order", "length"):
        with pytest.raises(ValueError, match=f"of type 'other' between atomic numbers 7 and 5 has no {kind}"):
            AddBondWeights(kind)(molecule("N->B"))
    data = molecule("CC")
    for wrong in (data.edge_attr.float(), data.edge_attr[:-1], data.edge_attr + len(BOND_TYPES)):
        data.edge_attr = wrong
        with pytest.raises(ValueError, match="edge_attr must be"):
            AddBondWeights()(data)


def test_arguments():
    assert repr(AddBondWeights("length")) == "AddBondWeights(kind='length')"
    with pytest.raises(ValueError, match="kind must be"):
        AddBondWeights("strength")  # type: ignore[arg-type]
    assert set(COVALENT_RADII) == set(ELEMENTS)
