"""configs/train_in_pieces.sh: a run that moves from machine to machine in small files ends as the uninterrupted one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

SCRIPT = Path(__file__).parents[2] / "configs" / "train_in_pieces.sh"


# Stands in for `timeout` where the time is 1 s: the end comes once the piece has logged its first 100 steps, however long
# this machine takes to get there.
TIMEOUT = """#!{python}
import os, signal, subprocess, sys, time
from pathlib import Path
if sys.argv[3] != "1":
    os.execv({timeout!r}, sys.argv)
run, command = Path(sys.argv[sys.argv.index("-o") + 1]), sys.argv[4:]
logs = lambda: set(run.glob("logs/*/metrics.csv"))
before, process = logs(), subprocess.Popen(command)
while process.poll() is None and not logs() - before:
    time.sleep(0.02)
process.send_signal(signal.SIGINT)
process.wait()
sys.exit(124)
"""


@pytest.mark.slow  # four programs that import torch
def test_pieces_make_the_whole(store_path, tmp_path):
    recipe = {
        "data": {"store": [str(store_path)], "batch_size": 4, "val_fraction": 0.2},
        "model": {"width": 16, "depths": [1], "heads": 2, "pair_width": 8},
        "train": {"max_steps": 400, "val_every": 400, "threads": 1, "accelerator": "cpu", "checkpoint_minutes": 60},
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
    stand_in = tmp_path / "bin" / "timeout"
    stand_in.parent.mkdir()
    stand_in.write_text(TIMEOUT.format(python=sys.executable, timeout=shutil.which("timeout")))
    stand_in.chmod(0o755)
    environment = {**os.environ, "PATH": f"{stand_in.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def piece(run, seconds):
        command = ["sh", SCRIPT, tmp_path / "r.yaml", tmp_path / run, str(seconds)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        names = sorted(p.name for p in (tmp_path / run).iterdir() if p.is_file())
        assert "last.ckpt" not in names and "last.ckpt.part-00" in names, done.stderr
        assert all(p.stat().st_size < 16 << 20 for p in (tmp_path / run).iterdir())
        return done.returncode

    assert piece("whole", 600) == 0
    for k in range(2):
        assert piece("parts", 1) == 3
        (tmp_path / "parts").rename(tmp_path / f"moved{k}")  # to another machine
        (tmp_path / f"moved{k}").rename(tmp_path / "parts")
    assert piece("parts", 600) == 0
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(one[name], two[name]) for name in one)
