"""Inverses through the command line: scored against the true ones with conjugate gradients beside them, and drawn."""

import json

import numpy as np
import pytest

from pyg_diffusion.cli import main
from pyg_diffusion.tasks.matrices.evaluate import conjugate_gradients, score


@pytest.fixture
def matrices(rng) -> np.ndarray:
    x = rng.uniform(-1, 1, (4, 5, 5))
    return 2 * x @ x.transpose(0, 2, 1) + 0.5 * np.eye(5)


def test_scores_are_those_of_their_definition():
    """A = 2 I: the inverse is I/2. Y = 0 is wrong by 1/4 at n of n² entries, and A Y - I = -I."""
    a = 2 * np.eye(4)[None]
    assert score(np.zeros_like(a), a) == pytest.approx({"mse": 0.25 / 4, "residual": 0.5})
    assert score(np.linalg.inv(a), a) == {"mse": 0.0, "residual": 0.0}


def test_conjugate_gradients_are_exact_after_n_steps_also_where_a_matrix_is_not_symmetric(matrices, rng):
    for a in (matrices[0], rng.uniform(-1, 1, (5, 5)) + 3 * np.eye(5)):
        np.testing.assert_allclose(conjugate_gradients(a, 5), np.linalg.inv(a), atol=1e-6)
        errors = [np.square(conjugate_gradients(a, k) - np.linalg.inv(a)).mean() for k in (1, 3, 5)]
        assert errors[0] > errors[1] > errors[2]


def test_the_command_scores_and_draws(matrices, tmp_path, capsys):
    np.save(tmp_path / "a.npy", matrices)
    np.save(tmp_path / "y.npy", np.linalg.inv(matrices) + 0.1)
    files = [str(tmp_path / "y.npy"), str(tmp_path / "a.npy")]
    assert main(["evaluate", *files, "-o", str(tmp_path / "result.json")]) == 0
    assert "CG, 5 steps" in capsys.readouterr().out
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["steps"] == [1, 2, 4, 5] and result["methods"]["pyg_diffusion"]["mse"] == pytest.approx(0.01)
    for source in (tmp_path / "result.json", tmp_path / "y.npy"):
        assert main(["plot", str(source), "-o", str(tmp_path / "out.png")]) == 0
        assert (tmp_path / "out.png").read_bytes()[:4] == b"\x89PNG"
        (tmp_path / "out.png").unlink()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["y.npy"], "need the MATRICES.npy"),
        (["y.npy", "small.npy"], "do not belong to"),
        (["y.npy", "singular.npy"], "matrix 1 has no inverse"),
        (["y.npy", "text.npy"], "not a .npy array"),
        (["y.npy", "a.npy", "--etkdg"], "--etkdg is for conformers"),
    ],
)
def test_what_cannot_be_scored_is_said(arguments, message, matrices, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    broken = matrices.copy()
    broken[1] = 1.0
    for name, values in (("a", matrices), ("y", np.linalg.inv(matrices)), ("small", matrices[:2]), ("singular", broken)):
        np.save(f"{name}.npy", values)
    (tmp_path / "text.npy").write_text("no array")
    assert main(["evaluate", *arguments]) == 2
    assert message in capsys.readouterr().err
