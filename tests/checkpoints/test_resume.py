"""A checkpoint that cannot be resumed is one clear error; one that can is read once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from depthdif import UserError
from depthdif.checkpoints.resume import RunCheckpointIO, checkpoint_to_resume, continuation
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
    train(cfg, checkpoint_to_resume(cfg))
    assert opened == [path]
    steps = [
        original(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["global_step"]
        for name in ("second", "third")
    ]
    assert steps == [2, 2]


def saved_in(folder: Path, name: str = "last.ckpt", step: int = 3, **recorded: Any) -> Path:
    """A checkpoint in a run folder."""
    path = folder / "checkpoints" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"state_dict": {}, "global_step": step, "hyper_parameters": recorded}
    RunCheckpointIO().save_checkpoint(content, path)
    return path


def run_in(folder: Path, resume: str | Path | None, **values: Any) -> DictConfig:
    """What decides on the checkpoint in the config of a run."""
    return OmegaConf.create({"output_dir": str(folder), "resume": resume and str(resume), **values})


def test_auto_takes_the_last_checkpoint_of_the_run_folder_and_starts_anew_without_one(tmp_path: Path) -> None:
    assert checkpoint_to_resume(run_in(tmp_path, "auto")) is None
    path = saved_in(tmp_path)
    found = checkpoint_to_resume(run_in(tmp_path, "auto"))
    assert found is not None
    assert (found.path, found.steps, found.is_own) == (path, 3, True)


def test_a_new_run_in_the_folder_of_another_is_refused(tmp_path: Path) -> None:
    assert checkpoint_to_resume(run_in(tmp_path, None)) is None
    saved_in(tmp_path)
    with pytest.raises(UserError, match=r"last\.ckpt is there already; set resume=auto .*hydra\.run\.dir="):
        checkpoint_to_resume(run_in(tmp_path, None))


def test_a_run_that_began_from_a_checkpoint_elsewhere_goes_on_from_its_own(tmp_path: Path) -> None:
    first = saved_in(tmp_path / "first")
    second = run_in(tmp_path / "second", first)
    found = checkpoint_to_resume(second)
    assert found is not None
    assert (found.path, found.is_own) == (first, False)
    own = saved_in(tmp_path / "second", step=5, resume=str(first))
    found = checkpoint_to_resume(second)
    assert found is not None
    assert (found.path, found.steps, found.is_own) == (own, 5, True)


def test_the_folder_of_a_run_that_began_otherwise_is_not_taken(tmp_path: Path) -> None:
    first = saved_in(tmp_path / "first")
    saved_in(tmp_path / "second", resume="auto")
    with pytest.raises(UserError, match="of a run with resume=auto"):
        checkpoint_to_resume(run_in(tmp_path / "second", first))


def test_an_earlier_checkpoint_of_the_run_folder_is_taken_when_it_is_set(tmp_path: Path) -> None:
    saved_in(tmp_path)
    best = saved_in(tmp_path, "step-2.ckpt", step=2)
    found = checkpoint_to_resume(run_in(tmp_path, best))
    assert found is not None
    assert (found.path, found.steps) == (best, 2)


def test_an_unreadable_last_checkpoint_is_one_line_that_names_the_latest_other_one(tmp_path: Path) -> None:
    saved_in(tmp_path).write_bytes(b"half")
    with pytest.raises(UserError, match="remove the file to begin anew"):
        checkpoint_to_resume(run_in(tmp_path, "auto"))
    saved_in(tmp_path, "step-2.ckpt", step=2)
    saved_in(tmp_path, "step-4.unfinished.ckpt")
    with pytest.raises(UserError, match=r"resume=auto: .*truncated.*; set resume=.*/step-2\.ckpt$") as error:
        checkpoint_to_resume(run_in(tmp_path, "auto"))
    assert "\n" not in str(error.value)


def test_one_line_has_the_step_and_what_differs_apart_from_places(tmp_path: Path) -> None:
    old, new = str(tmp_path / "old"), str(tmp_path / "new")
    recorded = {
        "output_dir": old,
        "resume": "auto",
        "panels": f"{old}/panels",
        "trainer": {"max_steps": 4},
        "seed": 0,
    }
    saved_in(tmp_path / "old", overrides=["seed=0"], **recorded)
    cfg = run_in(tmp_path / "new", f"{old}/checkpoints/last.ckpt", panels=f"{new}/panels", trainer={"max_steps": 8},
                 seed=0)  # fmt: skip
    found = checkpoint_to_resume(cfg)
    assert found is not None
    line = f"continuing from step 3 of {old}/checkpoints/last.ckpt"
    assert continuation(cfg, found) == f"{line}; changed: trainer.max_steps=8 (was 4)"
    cfg.trainer.max_steps = 4
    assert continuation(cfg, found) == line


def test_a_checkpoint_that_is_not_written_whole_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved_in(tmp_path)
    before = path.read_bytes()

    def disk_full(content: Any, file: Path) -> None:
        assert file.parent == path.parent  # On the same disk, so that a rename replaces it at once.
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", disk_full)
    with pytest.raises(OSError, match="No space left"):
        saved_in(tmp_path, step=4)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
