"""Whether a conformer is a sound one: lengths, angles, PoseBusters."""

import io
import sys

import numpy as np
import pytest
from conformer_sets import embed, ensemble, positions
from rdkit import Chem
from rdkit.Chem.rdDistGeom import EmbedMolecule, EmbedParameters

from pyg_diffusion.chem import Record, with_positions
from pyg_diffusion.metrics import compare, evaluate, geometry, posebusters_failures, records_of, validity
from pyg_diffusion.metrics.validity import angle_values


def test_bond_and_angle_errors_of_a_known_change():
    water = Chem.AddHs(Chem.MolFromSmiles("O"))

    def at(length, degrees):
        half = np.radians(degrees) / 2
        return [
            [0, 0, 0],
            [length * np.sin(half), length * np.cos(half), 0],
            [-length * np.sin(half), length * np.cos(half), 0],
        ]

    reference = np.array([at(0.90, 100), at(1.00, 108)])  # means: .95 Å, 104 degrees
    g = geometry(water, reference, np.array([at(0.98, 104), at(0.94, 94)]))
    assert g.bond_mae == pytest.approx((0.03 + 0.01) / 2)
    assert g.angle_mae == pytest.approx((0 + 10) / 2)
    assert np.isnan(g.heavy_bond_mae) and g.conformers == 2
    line = np.array([[[-1.0, 0, 0], [0, 0, 0], [1, 0, 0]]])
    assert angle_values(np.array([[0, 1, 2]]), line)[0, 0] == pytest.approx(180)


def test_posebusters_after_its_stderr_was_closed(monkeypatch):
    with monkeypatch.context() as patch, io.TextIOWrapper(io.BytesIO()) as captured:
        patch.setattr(sys, "stderr", captured)
        assert posebusters_failures([embed("CCO", 1)])[0] == 1
    passed, tests = posebusters_failures([embed("CCN", 1)])  # another molecule: InChIs are remembered
    assert passed == 1, tests


def test_posebusters_ends_where_its_embedding_would_not(monkeypatch):
    monkeypatch.setattr(validity, "ENERGY_SECONDS", 1)
    mol = Chem.AddHs(Chem.MolFromSmiles("C1CCCCCCC#C1"))
    rough = EmbedParameters()
    rough.randomSeed = 1
    assert EmbedMolecule(mol, rough) == 0
    assert posebusters_failures([mol, mol])[1]["not run: internal_energy"] == 2


def test_posebusters_counts():
    mol = embed("CC(=O)Nc1ccccc1", 4)
    squeezed = with_positions(mol, positions(mol)[:1] * 0.6)
    passed, tests = posebusters_failures([with_positions(mol, positions(mol)[:1]), squeezed])
    assert (passed, tests["bond_lengths"]) == (1, 1), tests
    ref = ensemble(mol, "p")
    records = [*records_of(mol, "p"), Record(9, "p", embed("CCO", 1))]
    everything = evaluate([ref], records, checked=None)
    (m,) = everything.molecules
    assert (m.checked, m.pb_passed, m.pb_tests["wrong graph"]) == (5, 4, 1)
    sampled = evaluate([ref], records, checked=2, seed=3)
    assert (sampled.molecules[0].checked, sampled.eligible) == (2, 5)
    assert compare({"x": sampled}).rows["x"]["PoseBusters checked"] == "2 of 5"
    assert compare({"x": everything}).rows["x"]["PoseBusters pass"] == pytest.approx(0.8)
