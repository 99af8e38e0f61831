"""Records grouped, matched to references and scored."""

import numpy as np
import pytest
from conformer_sets import embed, ensemble, from_3d, positions, shuffled
from rdkit import Chem

from pyg_diffusion.chem import Record, read_sdf, with_positions
from pyg_diffusion.metrics import StereoCheck, compare, evaluate, evaluation, group_records, records_of
from pyg_diffusion.metrics.result import OK, UNREADABLE


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
    measured = evaluation.rmsd_matrix

    def breaks(reference, generated, limit):
        if reference.HasSubstructMatch(Chem.MolFromSmarts("N")):
            raise RuntimeError("Pre-condition Violation\n\tring info not initialized\n")
        return measured(reference, generated, limit)

    monkeypatch.setattr(evaluation, "rmsd_matrix", breaks)
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
