"""Conformer metrics against hand-computed values and molecules whose answer is known."""

import io
import json
import sys
from collections import Counter

import numpy as np
import pytest
from rdkit import Chem

from pyg_diffusion.chem import Record, read_sdf, with_positions
from pyg_diffusion.metrics import (
    Evaluation,
    MoleculeResult,
    StereoCheck,
    compare,
    conformers,
    etkdg,
    evaluate,
    geometry,
    group_records,
    posebusters_failures,
    records_of,
    rmsd_matrix,
)
from pyg_diffusion.metrics.conformers import OK, UNREADABLE
from pyg_diffusion.metrics.validity import angle_values, atom_map, automorphisms

INF = np.inf


def embed(smiles, n=2, seed=11):
    mol, _ = etkdg(Chem.AddHs(Chem.MolFromSmiles(smiles)), n, seed)
    assert mol.GetNumConformers() == n
    return mol


def positions(mol):
    return np.array([c.GetPositions() for c in mol.GetConformers()])


def from_3d(mol, pos=None):
    """One-conformer molecule with stereo perceived from its coordinates, as the reader gives it."""
    out = with_positions(mol, positions(mol)[:1] if pos is None else np.array([pos]))
    Chem.AssignStereochemistryFrom3D(out)
    return out


def ensemble(mol, name):
    (one,), skipped = group_records(list(records_of(mol, name)))
    assert not skipped
    return one


def rotation(rng):
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


def shuffled(mol, rng):
    return Chem.RenumberAtoms(mol, [int(i) for i in rng.permutation(mol.GetNumAtoms())])


def result(rmsd, name="m", n=None):
    rmsd = np.array(rmsd, float)
    status = tuple(OK if np.isfinite(c).all() else "missing" for c in rmsd.T)
    return MoleculeResult(name, name, status, rmsd)


# --- the measures on a matrix small enough for pencil and paper ---------------------------------------------------------


def test_coverage_and_amr_by_hand():
    r = result([[0.1, 0.6, INF, 0.5], [0.9, 0.3, INF, 0.4], [1.0, 2.0, INF, 0.8]])
    # minima over generated: .1 .3 .8; over references: .1 .3 inf .4
    assert r.cov_r(0.5) == pytest.approx(2 / 3)
    assert r.cov_r(0.1) == 0  # strictly below
    assert r.amr_r == pytest.approx(0.4)
    assert r.cov_p(0.35) == pytest.approx(2 / 4)
    assert r.amr_p() == pytest.approx((0.1 + 0.3 + 0.4) / 3)
    assert r.amr_p(0.7) == pytest.approx((0.1 + 0.3 + 0.7 + 0.4) / 4)
    assert [r.best_of(1), r.best_of(2), r.best_of(99)] == pytest.approx([2 / 3, 1.4 / 3, 0.4])
    assert r.counts == Counter({"ok": 3, "missing": 1})


def test_failures_take_the_worst_methods_value():
    a = Evaluation([result([[0.2, 0.4]], "m"), result([[INF, INF]], "x"), result([[INF, INF]], "y")], [])
    b = Evaluation([result([[0.6, INF]], "m"), result([[0.8, 1.0]], "x"), result([[INF, INF]], "y")], [])
    c = compare({"a": a, "b": b}, deltas=(0.5,), best_of=(1, 2, 3))
    row_a, row_b = c.rows["a"], c.rows["b"]
    assert (c.molecules, c.common) == (3, 1)
    assert [row_a["AMR-R mean"], row_b["AMR-R mean"]] == pytest.approx([0.2, 0.6])
    # x: method a takes b's .8; y: nobody solved it, the worst anywhere is .8
    assert row_a["AMR-R all mean"] == pytest.approx((0.2 + 0.8 + 0.8) / 3)
    assert row_b["AMR-R all mean"] == pytest.approx((0.6 + 0.8 + 0.8) / 3)
    # precision: worst entries are .6 (m) and 1.0 (x, and y from it)
    assert row_a["AMR-P all mean"] == pytest.approx((0.3 + 1.0 + 1.0) / 3)
    assert row_b["AMR-P all mean"] == pytest.approx((0.6 + 0.9 + 1.0) / 3)
    assert [row_a["COV-R(0.5) mean"], row_b["COV-P(0.5) mean"]] == pytest.approx([1 / 3, 0])
    assert row_a["COV-R(0.5) median"] == 0
    assert c.failed == {"a": ["x", "y"], "b": ["y"]}
    # single-reference measures: n up to what was asked for
    assert row_b["best of 1 < 1"] == pytest.approx(2 / 3)
    assert row_a["best of 2 median"] is None  # infinite: most molecules failed
    assert row_a["best of 2 mean all"] == pytest.approx((0.2 + 0.8 + 0.8) / 3)
    assert "best of 3 median" not in row_a


def test_comparison_prints_and_serialises():
    good = Evaluation([result([[0.2, 0.4]])], [])
    none = Evaluation([result([[INF, INF]])], [])
    c = compare({"good": good, "none": none}, extra={"good": {"s/conformer": 0.25}})
    text = json.loads(json.dumps(c.as_dict(), allow_nan=False))
    assert text["methods"]["none"]["AMR-R mean"] is None  # no molecule solved by both
    assert text["methods"]["none"]["AMR-R all mean"] == pytest.approx(0.2)
    lines = str(c).splitlines()
    head = next(line for line in lines if line.split() == ["good", "none"])
    seconds = next(line for line in lines if line.startswith("s/conformer"))
    assert seconds.split() == ["s/conformer", "0.2500", "-"] and len(seconds) == len(head)
    assert "none: 1 molecules without a valid conformer: m" in str(c)


def test_comparison_refuses_different_molecules():
    with pytest.raises(ValueError, match="same reference molecules"):
        compare({"a": Evaluation([result([[0.1]], "m")], []), "b": Evaluation([result([[0.1]], "n")], [])})
    with pytest.raises(ValueError, match="no method"):
        compare({})


# --- RMSD ---------------------------------------------------------------------------------------------------------------


def test_moved_and_renumbered_copies_have_rmsd_zero():
    rng = np.random.default_rng(0)
    mol = embed("CC(C)C[C@H](N)C(=O)Nc1ccccc1", 3)
    ref = ensemble(mol, "a")
    copies = []
    for k, pos in enumerate(positions(mol)):
        moved = with_positions(mol, (pos @ rotation(rng).T + rng.normal(size=3))[None])
        copies.append(Record(k, "a", shuffled(moved, rng)))
    (out,) = evaluate([ref], copies, expected=3).molecules
    assert out.counts[OK] == 3
    np.testing.assert_allclose(np.diag(out.rmsd), 0, atol=1e-5)
    assert (out.rmsd[~np.eye(3, dtype=bool)] > 0.05).all()
    assert out.geometry.bond_mae < 0.05


def test_rmsd_equals_kabsch_where_there_is_no_symmetry():
    mol = embed("OCC(=O)NC#N", 2, seed=3)
    heavy = [a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() > 1]
    x, y = (p[heavy] - p[heavy].mean(0) for p in positions(mol))
    u, s, vt = np.linalg.svd(x.T @ y)
    s[-1] *= np.sign(np.linalg.det(u @ vt))
    expected = np.sqrt(((x**2).sum() + (y**2).sum() - 2 * s.sum()) / len(heavy))
    first, second = (with_positions(mol, p[None]) for p in positions(mol))
    assert rmsd_matrix(first, second)[0, 0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("smiles", "stretch", "value"), [("C", 1.1, 0.0), ("[H][H]", 1.5, 0.25), ("[Na+]", 1.0, 0.0)])
def test_tiny_molecules(smiles, stretch, value):
    mol = embed(smiles, 1)
    pos = positions(mol)[0]
    ref = ensemble(mol, "t")
    (out,) = evaluate([ref], [Record(0, "t", with_positions(mol, stretch * pos[None]))], expected=1).molecules
    length = np.linalg.norm(pos[0] - pos[-1]) if smiles == "[H][H]" else 1.0
    assert out.rmsd[0, 0] == pytest.approx(value * length, abs=1e-5)  # H2: each atom moves by half the change
    assert out.cov_r(0.5) == 1


def test_the_limit_of_symmetric_orders_is_said():
    """Neopentane's carbons have 4! orders: with all of them tried, two labellings of one conformer are the same."""
    mol = embed("CC(C)(C)C", 1)
    ref = ensemble(mol, "neopentane")
    carbons = [a.GetIdx() for a in mol.GetAtoms() if a.GetDegree() == 4 and a.GetTotalNumHs(True) == 3]
    squeezed = positions(mol)[0].copy()
    squeezed[carbons[-1]] *= 1.3  # so that no two methyls are alike
    turned = squeezed.copy()
    turned[carbons] = squeezed[carbons[::-1]]
    refs, _ = group_records([Record(0, "neopentane", with_positions(mol, squeezed[None]))])
    record = Record(0, "neopentane", with_positions(mol, turned[None]))
    full, capped = (evaluate(refs, [record], expected=1, max_matches=k) for k in (24, 1))
    assert full.molecules[0].rmsd[0, 0] == pytest.approx(0, abs=1e-5) and not full.molecules[0].upper_bound
    assert capped.molecules[0].rmsd[0, 0] > 0.1 and capped.molecules[0].upper_bound
    assert evaluate([ref], [record], expected=1, max_matches=23).molecules[0].upper_bound
    found = compare({"x": capped, "y": full})
    assert found.rows["x"]["RMSD an upper bound"] == 1 and found.rows["y"]["RMSD an upper bound"] == 0
    assert found.as_dict()["upper_bounds"] == {"x": ["neopentane"], "y": []}
    assert "their RMSD is an upper bound: neopentane" in found.table()


# --- stereo -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("smiles", "wrong"),
    [
        ("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O"),
        ("OC(=O)[C@H](O)[C@H](O)C(=O)O", "OC(=O)[C@H](O)[C@@H](O)C(=O)O"),  # meso and chiral tartaric acid
        ("C[C@H]1CC[C@@H](C)CC1", "C[C@H]1CC[C@H](C)CC1"),
        ("C/C=C/CO", r"C/C=C\CO"),
        ("OC/C=C/C=C/CC", r"OC/C=C/C=C\CC"),
        ("C[S@](=O)CC", "C[S@@](=O)CC"),
    ],
)
def test_stereo_right_wrong_and_renumbered(smiles, wrong):
    rng = np.random.default_rng(5)
    good, bad = from_3d(embed(smiles, 1)), from_3d(embed(wrong, 1))
    for mol, other in ((good, bad), (bad, good)):
        ref = ensemble(mol, "s")
        same, different = ([shuffled(m, rng) for _ in range(6)] for m in (mol, other))
        (out,) = evaluate([ref], [Record(k, "s", m) for k, m in enumerate(same + different)]).molecules
        assert out.has_stereo
        assert out.status == ("ok",) * 6 + ("wrong stereo",) * 6
        assert np.isfinite(out.rmsd[:, :6]).all() and np.isinf(out.rmsd[:, 6:]).all()
        assert out.cov_p(9.0) == 0.5


@pytest.mark.parametrize(
    ("smiles", "achiral"),
    [
        ("C[C@H](O)[C@@H](N)CC", False),
        ("OC(=O)[C@H](O)[C@H](O)C(=O)O", True),  # meso tartaric acid
        ("OC(=O)[C@H](O)[C@@H](O)C(=O)O", False),  # the chiral one
        ("C[C@H]1CC[C@@H](C)CC1", True),
        ("C[C@H]1CC[C@H](C)CC1", True),
        ("C[C@H]1CCC[C@H](C)C1", False),  # trans-1,3: a chiral pair
        ("C[C@H]1CCC[C@@H](C)C1", True),  # cis-1,3: meso
        ("C/C=C/CO", True),
        ("CCOP(=O)([O-])OC", True),  # its two oxygens are one group, so phosphorus is no centre
    ],
)
def test_mirror_image(smiles, achiral):
    mol = from_3d(embed(smiles, 1))
    ref = ensemble(mol, "s")
    mirrored = with_positions(mol, positions(mol) * [1, 1, -1])
    (out,) = evaluate([ref], [Record(0, "s", mirrored)], expected=1).molecules
    assert out.status == (("ok",) if achiral else ("wrong stereo",))


def test_mirror_image_is_not_reflected_back():
    mol = embed("C[C@H](N)C(=O)O", 1)
    mirror = with_positions(mol, positions(mol) * [-1, 1, 1])
    assert rmsd_matrix(mol, mirror)[0, 0] > 0.3


def test_automorphisms_keep_the_graph():
    mol = embed("C[C@H]1CC[C@@H](C)CC1", 1)
    images = automorphisms(mol)
    bonds = {frozenset((b.GetBeginAtomIdx(), b.GetEndAtomIdx())) for b in mol.GetBonds()}
    assert len(images) == 4  # the heavy-atom graph has the symmetry of a rectangle
    for image in images:
        assert sorted(image) == list(range(mol.GetNumAtoms()))
        assert {frozenset(int(image[i]) for i in bond) for bond in bonds} == bonds


def test_flat_centre_is_wrong():
    mol = from_3d(embed("C[C@H](F)Cl", 1))
    flat = positions(mol)[0] * [1, 1, 0]
    check = StereoCheck(mol)
    assert check.specified and check.place(positions(mol)[0])[1] and not check.place(flat)[1]


# --- grouping and matching ----------------------------------------------------------------------------------------------


def test_grouping_from_a_file(tmp_path):
    rng = np.random.default_rng(1)
    butane, salt = embed("CCCC", 3), embed("CC(=O)[O-].[Na+]", 1)
    left, right = embed("C[C@H](N)CO", 2), embed("C[C@@H](N)CO", 1)
    path = tmp_path / "refs.sdf"
    with Chem.SDWriter(str(path)) as writer:
        for name, mol, pos in (
            ("b", butane, positions(butane)[0]),
            ("", left, positions(left)[0]),
            ("b", butane, positions(butane)[1]),
            ("", left, positions(left)[1]),
            ("", right, positions(right)[0]),
            ("salt", salt, positions(salt)[0]),
            ("other", butane, positions(butane)[2]),
        ):
            one = shuffled(with_positions(mol, pos[None]), rng)
            one.SetProp("_Name", name)
            writer.write(one)
    path.write_text(path.read_text() + "broken\n\n\nnot a molecule\n$$$$\n")
    refs, skipped = group_records(read_sdf(str(path)))
    assert [(r.name, r.size) for r in refs] == [("b", 2), ("record 2", 2), ("record 5", 1), ("salt", 1), ("other", 1)]
    assert [s.name for s in skipped] == ["broken"] and skipped[0].reason
    # renumbered to the first record: every conformer has butane's bond lengths
    lengths = [b for p in positions(refs[0].mol) for b in bond_lengths(refs[0].mol, p)]
    assert min(lengths) > 1.0 and max(lengths) < 1.7
    # the file against itself: every reference is found, whatever its name
    own = evaluate(refs, read_sdf(str(path)), expected=1)
    assert [m.counts[OK] for m in own.molecules] == [2, 2, 1, 1, 1]
    assert [u.name for u in own.unmatched] == ["broken"]
    assert all(m.cov_r(0.01) == 1 for m in own.molecules)
    assert own.molecules[3].fragments == 2


def bond_lengths(mol, pos):
    return [np.linalg.norm(pos[b.GetBeginAtomIdx()] - pos[b.GetEndAtomIdx()]) for b in mol.GetBonds()]


def test_renumbered_conformers_of_a_meso_compound_keep_the_tags():
    rng = np.random.default_rng(2)
    mol = embed("OC(=O)[C@H](O)[C@H](O)C(=O)O", 4)
    records = [Record(k, "meso", from_3d(shuffled(from_3d(mol, p), rng))) for k, p in enumerate(positions(mol))]
    (ref,), _ = group_records(records)
    check = StereoCheck(ref.mol)
    assert ref.size == 4
    assert all(np.array_equal(check.place(p)[0], p) for p in positions(ref.mol))  # the identity already fits


def test_missing_wrong_graph_and_unreadable_stay_in_the_denominator():
    mol = embed("CCCO", 2)
    ref = ensemble(mol, "a")
    broken = with_positions(mol, np.full((1, mol.GetNumAtoms(), 3), np.nan))
    generated = [
        Record(0, "a", with_positions(mol, positions(mol)[:1])),
        Record(1, "a", embed("CCOC", 1)),
        Record(2, "a", None, problem="RDKit cannot parse this record"),
        Record(3, "a", broken),
        Record(4, "stranger", embed("c1ccccc1", 1)),
        Record(5, "stranger", None, problem="no atoms"),
    ]
    out = evaluate([ref], generated, expected=6)
    (m,) = out.molecules
    assert m.status == (OK, "wrong graph", UNREADABLE, UNREADABLE, "missing", "missing")
    assert m.cov_p(0.5) == pytest.approx(1 / 6)
    assert m.cov_r(1e-3) == pytest.approx(1 / 2)
    assert [u.name for u in out.unmatched] == ["stranger", "stranger"]
    assert "no atoms" in out.unmatched[1].reason
    row = compare({"x": out}).rows["x"]
    assert (row["conformers"], row["unreadable"], row["unmatched"]) == (6, 2, 2)
    assert row["yield"] == pytest.approx(1 / 6)


def test_expected_number_of_conformers():
    mol = embed("CCCO", 3)
    ref = ensemble(mol, "a")
    records = list(records_of(mol, "a"))
    assert evaluate([ref], records).molecules[0].rmsd.shape == (3, 6)  # 2K
    assert evaluate([ref], records, expected=2).molecules[0].rmsd.shape == (3, 3)  # more than asked for: all count
    assert evaluate([ref], [], expected=[4]).molecules[0].status == ("missing",) * 4
    with pytest.raises(ValueError, match="expected has 2 entries"):
        evaluate([ref], records, expected=[1, 2])


def test_duplicate_and_foreign_names():
    left, right = from_3d(embed("C[C@H](N)CO", 1)), from_3d(embed("C[C@@H](N)CO", 1))
    butane, ether = embed("CCCC", 1), embed("CCOCC", 1)
    refs, skipped = group_records(
        [Record(0, "x", left), Record(1, "x", right), Record(2, "x", butane), Record(3, "e1", ether), Record(4, "e2", ether)]
    )
    assert len(refs) == 5 and not skipped
    generated = [
        Record(0, "x", right),  # the name fits two graphs, and two stereoisomers
        Record(1, "x", butane),
        Record(2, "renamed", left),  # stereo decides
        Record(3, "renamed", butane),  # the graph decides
        Record(4, "e2", ether),  # two references of one molecule: the name decides
        Record(5, "renamed", ether),  # nothing decides
        Record(6, "x", embed("CO", 1)),  # a graph that nobody has under a name that three have
        Record(7, "e1", embed("CO", 1)),
    ]
    out = evaluate(refs, generated, expected=1)
    assert [m.status for m in out.molecules] == [("ok",), ("ok",), ("ok", "ok"), ("wrong graph",), ("ok",)]
    assert [u.index for u in out.unmatched] == [5, 6]
    assert "2 references" in out.unmatched[0].reason


def test_salts_and_their_parents():
    salt = embed("CC(=O)[O-].[Na+]", 1)
    ref = ensemble(salt, "s")
    apart = positions(salt)[0].copy()
    sodium = next(a.GetIdx() for a in salt.GetAtoms() if a.GetAtomicNum() == 11)
    apart[sodium] += 3.0
    generated = [Record(0, "s", with_positions(salt, apart[None])), Record(1, "s", embed("CC(=O)[O-]", 1))]
    out = evaluate([ref], generated, checked=None)
    assert out.molecules[0].status == ("ok", "wrong graph")
    assert out.molecules[0].rmsd[0, 0] > 0.5
    assert (out.refused, out.eligible, out.molecules[0].checked) == (1, 0, 0)


def test_imine_hydrogen_does_not_change_the_graph():
    mol = embed("[H]/N=C/OC", 1)
    no_label = Chem.Mol(mol)
    for bond in no_label.GetBonds():
        bond.SetStereo(Chem.BondStereo.STEREONONE)
    (out,) = evaluate([ensemble(mol, "i")], [Record(0, "i", no_label)], expected=1).molecules
    assert out.status == ("ok",) and out.rmsd[0, 0] == pytest.approx(0, abs=1e-5)


def test_two_processes_give_the_same():
    mols = [embed(s, 2) for s in ("CCO", "CC(=O)N")]
    refs = [ensemble(m, f"m{k}") for k, m in enumerate(mols)]
    records = [r for k, m in enumerate(mols) for r in records_of(embed(Chem.MolToSmiles(Chem.RemoveHs(m)), 3, 5), f"m{k}")]
    one, two = evaluate(refs, records), evaluate(refs, records, workers=2)
    for a, b in zip(one.molecules, two.molecules, strict=True):
        assert a.status == b.status
        np.testing.assert_array_equal(a.rmsd, b.rmsd)


def test_a_molecule_that_cannot_be_evaluated_is_named_and_ends_nothing(monkeypatch):
    good, bad = embed("CCO", 2), embed("CCN", 2)
    refs = [ensemble(good, "good"), ensemble(bad, "bad")]
    measured = conformers.rmsd_matrix

    def breaks(reference, generated, limit):
        if reference.HasSubstructMatch(Chem.MolFromSmarts("N")):
            raise RuntimeError("Pre-condition Violation\n\tring info not initialized\n")
        return measured(reference, generated, limit)

    monkeypatch.setattr(conformers, "rmsd_matrix", breaks)
    out = evaluate(refs, [*records_of(good, "good"), *records_of(bad, "bad")], expected=3)
    one, two = out.molecules
    assert one.status == ("ok", "ok", "missing") and not one.problem
    assert two.status == ("unreadable", "unreadable", "missing") and not np.isfinite(two.rmsd).any()
    found = compare({"x": out})
    assert found.problems == {"x": [("bad", "ring info not initialized")]}
    assert found.rows["x"]["COV-R(0.5) mean"] == 0.5 and found.rows["x"]["yield"] == pytest.approx(1 / 3)
    assert "1 molecules that could not be evaluated: bad (ring info not initialized)" in found.table()


def ferrocene() -> Chem.Mol:
    """Two eclipsed cyclopentadienide rings with dative bonds to iron: without its hydrogens RDKit cannot kekulize it."""
    mol = Chem.RWMol()
    angles = 0.4 * np.pi * np.arange(5)
    ring = np.stack([1.21 * np.cos(angles), 1.21 * np.sin(angles), np.full(5, 1.66)], 1)
    pos = np.concatenate([ring, ring * [1, 1, -1], [[0, 0, 0]]])
    for k in range(11):
        atom = Chem.Atom(6 if k < 10 else 26)
        atom.SetFormalCharge({0: -1, 5: -1, 10: 2}.get(k, 0))
        mol.AddAtom(atom)
    for k in range(10):
        kind = Chem.BondType.DOUBLE if k % 5 in (1, 3) else Chem.BondType.SINGLE
        mol.AddBond(k, k - k % 5 + (k + 1) % 5, kind)
        mol.AddBond(k, 10, Chem.BondType.DATIVE)
    out = with_positions(mol.GetMol(), pos[None])
    Chem.SanitizeMol(out)
    return Chem.AddHs(out, addCoords=True)


def test_ferrocene():
    mol = ferrocene()
    with pytest.raises(Chem.KekulizeException):
        Chem.RemoveHs(mol)
    refs, skipped = group_records([Record(0, "fc", mol)])
    assert not skipped
    wide = positions(mol) * [1, 1, 1.1]  # only the rings' distance from iron: ten carbons move by .166 Å
    (m,) = evaluate(refs, [Record(0, "fc", with_positions(mol, wide))], expected=1, checked=None).molecules
    assert m.status == ("ok",) and not m.problem
    assert m.rmsd[0, 0] == pytest.approx(0.166 * np.sqrt(10 / 11), abs=1e-3)
    assert m.checked == 1 and m.strain == {"MMFF94s": [None]}
    assert not any("Violation" in text or "# 0x" in text for text in m.messages)


# --- validity -----------------------------------------------------------------------------------------------------------


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


def test_baseline_uses_the_graph_and_keeps_it():
    mol = from_3d(embed("C[C@H](O)c1nonc1N", 1))
    far = with_positions(mol, positions(mol) + 100.0)
    a, seconds = etkdg(mol, 3, seed=1)
    b, _ = etkdg(far, 3, seed=1)
    np.testing.assert_array_equal(positions(a), positions(b))  # the coordinates it is given do not matter
    assert a.GetNumConformers() == 3 and seconds > 0 and mol.GetNumConformers() == 1
    relaxed, _ = etkdg(mol, 3, seed=1, mmff=True)
    assert np.abs(positions(relaxed) - positions(a)).max() > 1e-3
    assert np.array_equal(atom_map(mol, relaxed), np.arange(mol.GetNumAtoms()))  # MMFF's aromaticity stays out
    (out,) = evaluate([ensemble(mol, "m")], [*records_of(a, "m"), *records_of(relaxed, "m")]).molecules
    assert out.counts == Counter(ok=6)


def test_baseline_that_fails_returns_fewer():
    impossible = Chem.AddHs(Chem.MolFromSmiles("C1C[C@@H]2C[C@@H]1CC2"))  # norbornane with one bridgehead inside
    made, _ = etkdg(impossible, 2)
    assert made.GetNumConformers() == 0


def test_baseline_conformers_differ_under_every_seed():
    mol = Chem.AddHs(Chem.MolFromSmiles("CCCO"))
    for seed in (0, 1):
        first, second = positions(etkdg(mol, 2, seed)[0])
        assert np.abs(first - second).max() > 1e-3
    np.testing.assert_array_equal(positions(etkdg(mol, 2, 4)[0]), positions(etkdg(mol, 2, 4)[0]))
