"""A checkpoint that cannot be resumed is one clear error; one that can is read once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from depthdif.checkpoints.resume import read_run_checkpoint
from depthdif.training import train

SmallRun = Callable[..., DictConfig]


@pytest.mark.parametrize("bad", ["missing", "truncated", "foreign", "other_architecture"])
def test_a_checkpoint_that_cannot_be_resumed_is_one_clear_error_and_stays_as_it_is(
    small_run: SmallRun, tmp_path: Path, bad: str
) -> None:
    train(small_run("trainer.max_steps=1", "logger=csv", name="first"))
    path = tmp_path / "first" / "checkpoints" / "last.ckpt"
    overrides = ["trainer.max_steps=2", "logger=csv"]
    if bad == "missing":
        path = tmp_path / "nowhere.ckpt"
    elif bad == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif bad == "foreign":
        torch.save([1, 2, 3], path)
    else:
        overrides.append("model.denoiser.block_out_channels=[8,32]")
    before = path.read_bytes() if path.exists() else None
    expected = FileNotFoundError if bad == "missing" else ValueError
    with pytest.raises(expected, match="resume=") as error:
        train(small_run(*overrides, f"resume={path}", name="second"))
    assert "\n" not in str(error.value)
    assert "set " in str(error.value)
    assert (path.read_bytes() if path.exists() else None) == before
    assert not (tmp_path / "second").exists()


def test_a_checkpoint_made_with_another_first_guess_is_one_clear_error(
    small_run: SmallRun, tmp_path: Path
) -> None:
    train(small_run("trainer.max_steps=1", "logger=csv", "model/first_guess=idw", name="first"))
    path = tmp_path / "first" / "checkpoints" / "last.ckpt"
    overrides = ("trainer.max_steps=2", "logger=csv", "model/first_guess=idw", "model.first_guess.power=2")
    other = small_run(*overrides, f"resume={path}", name="second")
    with pytest.raises(ValueError, match=r"first guess InverseDistance.*set model\.first_guess\.power=4\.89"):
        train(other)
    assert not (tmp_path / "second").exists()


def test_a_weights_only_checkpoint_cannot_continue_a_training(small_run: SmallRun, tmp_path: Path) -> None:
    train(
        small_run(
            "trainer.max_steps=1",
            "logger=csv",
            "+callbacks.last_checkpoint.save_weights_only=true",
            name="first",
        )
    )
    path = tmp_path / "first" / "checkpoints" / "last.ckpt"
    with pytest.raises(ValueError, match=r"without an optimizer.*save_weights_only=false"):
        train(small_run("trainer.max_steps=2", "logger=csv", f"resume={path}", name="second"))


def test_a_checkpoint_is_read_once_on_resume(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(small_run("trainer.max_steps=1", "logger=csv", name="first"))
    path = tmp_path / "first" / "checkpoints" / "last.ckpt"
    opened: list[Any] = []
    original = torch.load
    monkeypatch.setattr(
        torch, "load", lambda file, *options, **more: opened.append(file) or original(file, *options, **more)
    )
    cfg = small_run("trainer.max_steps=2", "logger=csv", f"resume={path}", name="second")
    train(cfg)
    assert opened == [path]
    opened.clear()
    cfg = small_run("trainer.max_steps=2", "logger=csv", f"resume={path}", name="third")
    train(cfg, read_run_checkpoint("resume", path))
    assert opened == [path]
    steps = [
        original(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["global_step"]
        for name in ("second", "third")
    ]
    assert steps == [2, 2]
