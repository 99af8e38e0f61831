"""Groups of relabellings, against what is known of molecules and against all permutations of small ones."""

import itertools

import pytest
import torch
from rdkit import Chem

from pyg_diffusion.chem import molecule_from_mol
from pyg_diffusion.data.symmetry import automorphisms


def data(smiles, hydrogens=False):
    mol = Chem.MolFromSmiles(smiles)
    return molecule_from_mol(Chem.AddHs(mol) if hydrogens else mol).data(None)


@pytest.mark.parametrize(
    ("smiles", "order"),
    [
        ("c1ccccc1", 12),
        ("CC(C)(C)C", 24),
        ("CCO", 1),
        ("C1CC1", 6),
        ("C/C=C/C", 2),
        ("C/C=C/C=C\\C", 1),
        ("OC(=O)[C@H](O)[C@@H](O)C(O)=O", 2),  # the half turn of one enantiomer
        ("OC(=O)[C@H](O)[C@H](O)C(O)=O", 1),  # meso: only its mirror image exchanges the ends
        ("O.O.O", 6),
        ("O", 1),
        ("C[N+](C)(C)CC(=O)[O-]", 6),
    ],
)
def test_order_of_known_groups(smiles, order):
    group = automorphisms(data(smiles))
    assert len(group) == order
    assert group[0].tolist() == list(range(group.size(1))) and len({tuple(p) for p in group.tolist()}) == len(group)


@pytest.mark.parametrize("smiles", ["CCC", "C[C@H](F)O", "C=C", "C/C=C/F", "CO", "[Na+].[OH-]"])
def test_equal_to_a_search_through_all_permutations(smiles):
    """Of the atoms, hydrogens included: those that keep features, bonds, cis/trans labels and the sign of every centre."""
    d = data(smiles, hydrogens=True)
    bonds = dict(zip(zip(*d.edge_index.tolist(), strict=True), d.edge_attr.tolist(), strict=True))
    sides = {frozenset((a, b)): v for (a, _, _, b), v in zip(d.ez_index.T.tolist(), d.ez_attr.tolist(), strict=True)}
    x, found = d.x.tolist(), set()
    classes = [[k for k in range(d.num_nodes) if x[k] == row] for row in map(list, sorted(set(map(tuple, x))))]
    pos = torch.randn(d.num_nodes, 3, generator=torch.Generator().manual_seed(0))

    def signs(p):
        c, *around = d.tetra_index
        a, b, e, f = (pos[p[k]] for k in around)
        return torch.linalg.det(torch.stack([a - f, b - f, e - f], 1)).sign().tolist() if len(c) else []

    for images in itertools.product(*map(itertools.permutations, classes)):
        p = [0] * d.num_nodes
        for members, image in zip(classes, images, strict=True):
            for k, v in zip(members, image, strict=True):
                p[k] = v
        if any(bonds.get((p[a], p[b])) != kind for (a, b), kind in bonds.items()):
            continue
        if {frozenset(p[k] for k in pair): v for pair, v in sides.items()} != sides:
            continue
        there = {c: k for k, c in enumerate(d.tetra_index[0].tolist())}
        moved = [there[p[c]] for c in d.tetra_index[0].tolist()]
        if signs(torch.tensor(p)) == [signs(torch.arange(d.num_nodes))[k] for k in moved]:
            found.add(tuple(p))
    assert {tuple(p) for p in automorphisms(d, limit=10_000).tolist()} == found


def test_a_limited_group_is_a_group_that_moves_few_atoms():
    assert 32 < len(automorphisms(data("FS(F)(F)(F)(F)F"))) <= 64  # of 720
    group = automorphisms(data("CCCCC", hydrogens=True), limit=20)
    assert 10 < len(group) <= 20
    elements = {tuple(p) for p in group.tolist()}
    assert {tuple(p[q].tolist()) for p in group for q in group} == elements
    assert all((p[:5] == torch.arange(5)).all() for p in group)  # hydrogens are exchanged, the chain is not turned round
