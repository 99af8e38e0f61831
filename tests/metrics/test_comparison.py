"""The table of methods, on matrices small enough for pencil and paper."""

import json
from collections import Counter

import pytest
from conformer_sets import INF, embed, result
from rdkit import Chem

from pyg_diffusion.cli import main
from pyg_diffusion.metrics import MEASURES, Evaluation, compare, measure


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


def test_a_measure_from_outside_is_a_row_of_the_table(tmp_path, capsys):
    """`evaluate` shows it with its unit, beside the package's own."""

    @measure("molecules", unit="conformers")
    def references(scored):
        return {"largest": max(m.rmsd.shape[0] for m in scored.molecules), "none": None}

    mol = embed("CCO", 1)
    with Chem.SDWriter(str(tmp_path / "a.sdf")) as writer:
        writer.write(mol)
    MEASURES.add("references", references)
    try:
        out = str(tmp_path / "out.json")
        assert main(["evaluate", str(tmp_path / "a.sdf"), str(tmp_path / "a.sdf"), "--busters", "0", "-o", out]) == 0
        table = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert ["none", "(conformers)", "-"] in table and ["largest", "(conformers)", "1"] in table, table
        assert ["AMR-R", "mean", "(Å)", "0.0000"] in table
    finally:
        MEASURES.remove("references")
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["units"]["largest"] == "conformers" and "COV-R(0.5) mean" not in written["units"]
    assert "largest" not in compare({"a": Evaluation([result([[0.1]])], [])}).rows["a"]
