"""`make coverage`: floors rise, never fall; the lower half stands at every line; what is said names the lines."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

import pyg_diffusion

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def covered():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        spec = importlib.util.spec_from_file_location("covered", ROOT / "benchmarks" / "covered.py")
        found = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
        yield found
    sys.modules.pop("machine", None)


def file(run: int, lines: int, taken: int, branches: int, missing=()):
    summary = {"covered_lines": run, "num_statements": lines, "covered_branches": taken, "num_branches": branches}
    return {"summary": summary, "missing_lines": list(missing)}


@pytest.fixture
def report(tmp_path):
    def write(**files) -> str:
        path = tmp_path / "report.json"
        path.write_text(json.dumps({"files": {f"pyg_diffusion/{key.replace('__', '/')}.py": f for key, f in files.items()}}))
        return str(path)

    return write


SINGLE = file(1, 1, 0, 0)


def test_rooms_are_summed_and_floors_only_rise(covered, report, tmp_path, capsys):
    path = tmp_path / "floors.json"

    def judged(**files) -> int:
        return covered.main([report(**files), "--floors", str(path)])

    loss = file(10, 10, 3, 4)
    assert judged(loss=loss, chem__sdf=file(80, 100, 10, 20, [7]), chem__a__b=file(99, 100, 10, 20), files=SINGLE) == 0
    assert json.loads(path.read_text())["rooms"]["chem"] == {"lines": [179, 200], "branches": [20, 40]}
    assert json.loads(path.read_text())["floors"] == {
        "loss": {"lines": 99, "branches": 74},
        "chem": {"lines": 89, "branches": 49},
        "single files": {"lines": 99, "branches": 99},
    }
    written = path.read_text()
    assert judged(loss=loss, chem__sdf=file(179, 200, 19, 40, [7, 8]), files=SINGLE) == 1
    said = "chem: 47.50 % of branches, where 49 % is the floor; no test runs pyg_diffusion/chem/sdf.py: 7, 8"
    assert said in capsys.readouterr().out
    assert path.read_text() == written
    assert judged(loss=loss, chem__sdf=file(179, 200, 39, 40), files=SINGLE) == 0
    assert json.loads(path.read_text())["floors"]["chem"] == {"lines": 89, "branches": 97}
    assert judged(loss=loss) == 1
    assert "chem: no file of it was measured" in capsys.readouterr().out


def test_the_lower_half_stands_at_every_line(covered, report, tmp_path, capsys):
    assert covered.main([report(spectral__grid=file(99, 100, 4, 4, [12])), "--floors", str(tmp_path / "none.json")]) == 1
    said = "spectral: 99.00 % of lines, where 100 % is the floor; no test runs pyg_diffusion/spectral/grid.py: 12"
    assert said in capsys.readouterr().out


def test_what_is_committed_is_of_rooms_that_there_are(covered):
    found = json.loads(covered.PATH.read_text())
    package = Path(pyg_diffusion.__file__).parent
    there = {covered.room_of(str(path)) for path in package.rglob("*.py") if path.stat().st_size}
    assert set(found["rooms"]) == set(found["floors"]) <= there
    for name in covered.LOWER + covered.BESIDE:
        run, lines = found["rooms"][name]["lines"]
        assert run == lines > 0
    for name, room in found["rooms"].items():
        assert all(covered.percent(room[key]) >= found["floors"][name][key] for key in covered.KEYS)
