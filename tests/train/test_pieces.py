"""configs/train_in_pieces.sh: a run that moves from machine to machine in small files ends as the uninterrupted one."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

SCRIPT = Path(__file__).parents[2] / "configs" / "train_in_pieces.sh"


@pytest.mark.slow  # three programs that import torch
def test_pieces_make_the_whole(store_path, tmp_path):
    recipe = {
        "data": {"store": [str(store_path)], "batch_size": 4, "val_fraction": 0.2},
        "model": {"width": 16, "depths": [1], "heads": 2, "pair_width": 8},
        "train": {"max_steps": 1500, "val_every": 1500, "threads": 1, "accelerator": "cpu", "checkpoint_minutes": 60},
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def piece(run, seconds):
        command = ["sh", SCRIPT, tmp_path / "r.yaml", tmp_path / run, str(seconds)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    start = time.monotonic()
    assert piece("whole", 600).returncode == 0
    seconds = max(1, round(0.7 * (time.monotonic() - start)))
    ends = []
    for k in range(20):
        done = piece("parts", seconds)
        ends.append(done.returncode)
        assert done.returncode in (0, 3), done.stderr
        names = sorted(p.name for p in (tmp_path / "parts").iterdir() if p.is_file())
        assert "last.ckpt" not in names and "last.ckpt.part-00" in names
        assert all(p.stat().st_size < 16 << 20 for p in (tmp_path / "parts").iterdir())
        if done.returncode == 0:
            break
        (tmp_path / "parts").rename(tmp_path / f"moved{k}")  # to another machine
        (tmp_path / f"moved{k}").rename(tmp_path / "parts")
    assert ends[-1] == 0 and ends[0] == 3
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(one[name], two[name]) for name in one)
