"""Resume state and weights on disk: whenever the program dies, what is there loads."""

import os
import random
import signal
import time
from itertools import count
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pyg_diffusion.nn import GraphNet
from pyg_diffusion.spectral import PowerSpectrum
from pyg_diffusion.tasks import recipe_from
from pyg_diffusion.train import DenoiserModule, train
from pyg_diffusion.train.checkpoint import LAST, PREVIOUS, AtomicCheckpointIO, CheckpointError, resume_state
from pyg_diffusion.weights_io import Card, WeightsError, build_denoiser, load_pretrained, save_pretrained

KILLS = 12


def state(k: int) -> dict:
    return {"global_step": k, "minutes": 0.5 * k, "state_dict": {"w": torch.full((100_000,), float(k))}}


def small_denoiser(k: int):
    """A network whose weights are all k, and a card that says so."""
    card = Card(
        process={"gamma": 1.0, "lambda0": 0.1, "noise": "white", "tau_min": 1e-3, "tau_max": 10.0},
        model={"kind": "graph", "channels": 2, "width": 8, "depth": 1, "heads": 2, "conditions": []},
        bf16=False,
        data={"kind": "fields", "shape": [4], "kinds": "cycle", "spacing": 1.0, "channels": 2},
        training={"steps": k},
    )
    denoiser = build_denoiser(card, PowerSpectrum.harmonic())
    assert isinstance(denoiser.net, GraphNet)
    with torch.no_grad():
        for value in denoiser.net.state_dict().values():
            value.fill_(k)
    return denoiser, card


def killed_while(save, begin: int, seconds: float) -> None:
    """Run `save(k)` for k = begin, ... in a process of its own, and SIGKILL it so many seconds after the first."""
    context = torch.multiprocessing.get_context("fork")
    saved = context.Event()

    def work() -> None:
        for k in count(begin):
            save(k)
            saved.set()

    process = context.Process(target=work, daemon=True)
    process.start()
    assert saved.wait(60)
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_a_resume_state_survives_a_kill_at_any_time(tmp_path):
    rng, path = random.Random(0), tmp_path / LAST
    AtomicCheckpointIO().save_checkpoint(state(1), path)
    step = 1
    for _ in range(KILLS):
        killed_while(lambda k: AtomicCheckpointIO().save_checkpoint(state(k), path), step + 1, rng.uniform(0, 0.05))
        found, after, remark = resume_state(tmp_path)
        assert found == path and not remark and after["global_step"] > step
        step = after["global_step"]
        assert torch.equal(after["state_dict"]["w"], state(step)["state_dict"]["w"])
    path.unlink()
    _, previous, remark = resume_state(tmp_path)
    assert previous["global_step"] in (step - 1, step) and "last.ckpt is missing; going on from" in remark


def test_weights_and_card_survive_a_kill_at_any_time(tmp_path):
    rng, path = random.Random(0), tmp_path / "weights.safetensors"
    save_pretrained(path, *small_denoiser(1))
    step = 1
    for _ in range(KILLS):
        killed_while(lambda k: save_pretrained(path, *small_denoiser(k)), step + 1, rng.uniform(0, 0.05))
        denoiser, card = load_pretrained(tmp_path)
        assert card.training["steps"] > step
        step = card.training["steps"]
        assert all(bool((v == torch.tensor(step).half()).all()) for v in denoiser.net.state_dict().values())


@pytest.mark.parametrize("first", range(4))
@pytest.mark.parametrize("second", range(5))
def test_weights_and_card_are_a_pair_after_every_step_of_a_save(first, second, tmp_path, monkeypatch):
    """A save moves three files into place: the new card, the weights, the card under its own name; and so does the next one,
    which may find that it has to end what the first one could not."""
    path, replace = tmp_path / "weights.safetensors", os.replace
    save_pretrained(path, *small_denoiser(3))
    before = 3
    for k, dies_at in ((5, first), (7, second)):
        calls = count()

        def dying(source, target, calls=calls, dies_at=dies_at):
            if next(calls) == dies_at:
                raise KeyboardInterrupt
            replace(source, target)

        monkeypatch.setattr(os, "replace", dying)
        try:
            save_pretrained(path, *small_denoiser(k))
        except KeyboardInterrupt:
            assert next(calls) <= dies_at + 1
        else:
            assert sorted(p.name for p in tmp_path.iterdir()) == ["weights.json", "weights.safetensors"]
        denoiser, card = load_pretrained(path)
        assert card.training["steps"] in (before, k)
        assert all(bool((v == card.training["steps"]).all()) for v in denoiser.net.state_dict().values())
        before = card.training["steps"]
    if second == 4:
        assert before == 7


def test_weights_of_another_card_are_refused(tmp_path):
    for k in (1, 2):
        save_pretrained(tmp_path / f"{k}.safetensors", *small_denoiser(k))
    (tmp_path / "1.json").replace(tmp_path / "2.json")
    with pytest.raises(WeightsError, match=r"1\.json: no such file"):
        load_pretrained(tmp_path / "1.safetensors")
    with pytest.raises(WeightsError, match=r"2\.safetensors: does not match its card"):
        load_pretrained(tmp_path / "2.safetensors")


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "flipped":
        content[len(content) // 2] ^= 1
    else:
        content = {"empty": b"", "cut": content[: len(content) // 3], "text": b"not at all\n" * 99}[how]
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["empty", "cut", "flipped", "text"])
def test_a_damaged_state_is_named_and_the_one_before_taken(how, tmp_path):
    files = AtomicCheckpointIO()
    for k in (1, 2, 3):
        files.save_checkpoint(state(k), tmp_path / LAST)
    assert sorted(os.listdir(tmp_path)) == [LAST, PREVIOUS]
    damage(tmp_path / LAST, how)
    found, before, remark = resume_state(tmp_path)
    assert found.name == PREVIOUS and before["global_step"] == 2
    assert remark.startswith(f"{tmp_path / LAST} is damaged (")
    assert remark.endswith(f"going on from {tmp_path / PREVIOUS}, saved at step 2")
    AtomicCheckpointIO(whole=False).save_checkpoint(state(4), tmp_path / LAST)  # the damaged one is not worth keeping
    assert resume_state(tmp_path)[1]["global_step"] == 4
    damage(tmp_path / LAST, how)
    assert resume_state(tmp_path)[1]["global_step"] == 2
    damage(tmp_path / PREVIOUS, how)
    with pytest.raises(CheckpointError, match=r"last\.ckpt is damaged .*previous\.ckpt is damaged .*cannot be resumed"):
        resume_state(tmp_path)
    with pytest.raises(CheckpointError, match="nothing to resume"):
        resume_state(tmp_path / "elsewhere")


def test_a_file_system_without_hard_links_keeps_the_one_before_as_well(tmp_path, monkeypatch):
    def refused(*paths):
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refused)
    files = AtomicCheckpointIO()
    for k in (1, 2):
        files.save_checkpoint(state(k), tmp_path / LAST)
    (tmp_path / LAST).unlink()
    assert resume_state(tmp_path)[1]["global_step"] == 1


def test_a_run_whose_last_state_is_damaged_ends_as_if_it_had_not_been(store_path, tmp_path, monkeypatch, capsys):
    recipe = {
        "data": {"store": [str(store_path)], "batch_size": 4, "val_fraction": 0.2},
        "model": {"width": 16, "depths": [1], "heads": 2, "pair_width": 8},
        "train": {"max_steps": 6, "val_every": 6, "threads": 1, "accelerator": "cpu", "checkpoint_minutes": 1e-6},
    }
    config = recipe_from(recipe)
    whole = train(config, tmp_path / "whole", progress=False)
    step = DenoiserModule.training_step

    def breaks(self, batch, index):
        if self.global_step == 4:
            raise RuntimeError("killed")
        return step(self, batch, index)

    monkeypatch.setattr(DenoiserModule, "training_step", breaks)
    with pytest.raises(RuntimeError, match="killed"):
        train(config, tmp_path / "run", progress=False)
    monkeypatch.setattr(DenoiserModule, "training_step", step)
    damage(tmp_path / "run" / LAST, "empty")
    resumed = train(config, tmp_path / "run", resume=True, progress=False)
    assert "last.ckpt is damaged (0 bytes" in capsys.readouterr().err and resumed.steps == 6
    one, two = load_file(whole.weights), load_file(resumed.weights)
    assert all(torch.equal(one[k], two[k]) for k in one)
