"""The script for whoever has a GPU, rehearsed on the CPU."""

import importlib
import json
import logging
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent


@pytest.fixture
def gpu(monkeypatch):
    """benchmarks/gpu.py as a module; what it and Lightning change of logging is put back."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    logger, precision = logging.getLogger("lightning.pytorch"), torch.get_float32_matmul_precision()
    level = logger.level
    yield importlib.import_module("gpu")
    logger.setLevel(level)
    torch.set_float32_matmul_precision(precision)


def test_the_script_does_not_hide_the_package_of_its_name(tmp_path, monkeypatch):
    (tmp_path / "cuda" / "bindings").mkdir(parents=True)
    (tmp_path / "cuda" / "bindings" / "__init__.py").write_text("driver = 'of NVIDIA'\n")
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), str(tmp_path), *sys.path])
    for name in [name for name in sys.modules if name == "cuda" or name.startswith("cuda.")]:
        monkeypatch.delitem(sys.modules, name)
    assert importlib.import_module("cuda.bindings").driver == "of NVIDIA"
    assert importlib.import_module("cuda").__file__ == str(ROOT / "benchmarks" / "cuda.py")


def rehearsed(gpu, store, folder, *parts) -> dict:
    output = folder / "result.json"
    status = gpu.main(["--rehearse", "--store", str(store), "--only", *parts, "-o", str(output)])
    result = json.loads(output.read_text())
    assert result["rehearsal"] and list(result["parts"]) == list(parts)
    assert status == 0, {name: part for name, part in result["parts"].items() if not part["ok"]}
    return result["parts"]


@pytest.mark.slow
def test_distributed_and_profiled(gpu, store_path, tmp_path):
    parts = rehearsed(gpu, store_path, tmp_path, "ddp", "profile")
    assert parts["ddp"]["rows"] == [{"backend": "gloo", "largest_difference": 0.0, "ok": True}]
    assert not torch.distributed.is_initialized()
    rows = parts["profile"]["rows"]
    assert len(rows) == 15 and rows == sorted(rows, key=lambda row: -row["milliseconds"])


def test_a_part_that_fails_is_told_and_the_rest_goes_on(gpu, store_path, tmp_path, monkeypatch, capsys):
    def fails(setting):
        """Fails."""
        raise RuntimeError("no such thing")
        yield

    monkeypatch.setitem(gpu.PARTS, "profile", fails)
    monkeypatch.setitem(gpu.PARTS, "ddp", lambda setting: iter([{"ok": True}]))
    output = tmp_path / "result.json"
    assert gpu.main(["--rehearse", "--store", str(store_path), "--only", "profile", "ddp", "-o", str(output)]) == 1
    parts = json.loads(output.read_text())["parts"]
    assert parts["profile"]["error"] == "RuntimeError: no such thing" and parts["ddp"]["ok"]
    assert "1 of 2 parts as they should be: not profile" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_what_can_be_done(gpu, capsys):
    with pytest.raises(SystemExit, match="2"):
        gpu.main([])
    assert "torch sees no GPU; --rehearse runs everything on the CPU" in capsys.readouterr().err


@pytest.mark.slow
def test_the_whole_rehearsal(gpu, store_path, tmp_path):
    parts = rehearsed(gpu, store_path, tmp_path, *gpu.PARTS)
    assert all(part["rows"] for part in parts.values())
