"""What a user sees at the prompt: help, errors in one line, sweeps, resuming."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from depthdif.command_line import suggestions

ROOT = Path(__file__).resolve().parents[1]
SMOKE = ("experiment=smoke", "logger=csv", "callbacks.progress=null", "callbacks.reconstruction.panel_samples=1",
         "callbacks.reconstruction.panel_depths=[0]")  # fmt: skip


def run_train(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HYDRA_FULL_ERROR": "0"}
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "train.py"), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def error_lines(finished: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in finished.stderr.splitlines() if line.startswith("error: ")]


def test_help_shows_groups_and_common_overrides_without_heavy_imports(tmp_path: Path) -> None:
    code = (
        "import sys, runpy; sys.argv = ['train.py', '--help']\n"
        f"try: runpy.run_path({str(ROOT / 'scripts' / 'train.py')!r}, run_name='__main__')\n"
        "finally: print('heavy:', sorted({'torch', 'diffusers', 'pytorch_lightning', 'wandb', 'xarray'} & set(sys.modules)))"
    )
    finished = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert "heavy: []" in finished.stdout
    for words in ("model/denoiser: unet_base, unet_small, unet_tiny", "model.ema.enabled=true", "resume=", "-m model.ema"):
        assert words in finished.stdout


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("model.ema.decya=0.9", "model.ema.decay"),
        ("data.batchsize=8", "data.batch_size"),
        ("model/denoizer=unet_base", "model/denoiser"),
        ("trainer.max_step=10", "trainer.max_steps"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest_valid_one(override: str, nearest: str) -> None:
    assert suggestions(["model/ema=quick", override, "-m"]) == [
        f"error: no key {override.partition('=')[0]!r}; the nearest valid one is {nearest}"
    ]


def test_an_unknown_key_at_the_prompt_fails_with_hydras_message_and_the_nearest_key(tmp_path: Path) -> None:
    finished = run_train("model.ema.decya=0.9", folder=tmp_path)
    assert finished.returncode != 0
    assert "Key 'decya' is not in struct" in finished.stderr
    assert error_lines(finished) == ["error: no key 'model.ema.decya'; the nearest valid one is model.ema.decay"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("data=glorys", "data.path=nowhere.nc"), ("nowhere.nc", "data.path")),
        (("model.ema.decay=1.5",), ("1.5", "model.ema.decay=")),
        (("resume=nowhere.ckpt",), ("nowhere.ckpt", "resume=")),
        (("data.patch_size=400",), ("400", "data.patch_size")),
        (("model.sampler.steps=0",), ("0", "model.sampler.steps=")),
    ],
    ids=lambda value: " ".join(value),
)
def test_bad_input_is_one_line_without_a_traceback(tmp_path: Path, overrides: tuple[str, ...], words: tuple[str, ...]) -> None:
    finished = run_train(*SMOKE, *overrides, folder=tmp_path)
    assert finished.returncode != 0
    (line,) = error_lines(finished)
    assert all(word in line for word in words)
    assert "Traceback" not in finished.stderr


def test_an_output_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    finished = run_train(*SMOKE, "hydra.run.dir=taken/run", folder=tmp_path)
    assert finished.returncode != 0
    (line,) = error_lines(finished)
    assert "taken/run" in line
    assert "hydra.run.dir=" in line


def test_a_sweep_trains_each_job_in_its_folder(tmp_path: Path) -> None:
    finished = run_train("-m", *SMOKE, "model.ema.decay=0.5,0.9", "trainer.max_steps=2", folder=tmp_path)
    assert finished.returncode == 0, finished.stderr
    (sweep,) = (tmp_path / "multirun").iterdir()
    for job, decay in (("0", 0.5), ("1", 0.9)):
        saved = torch.load(sweep / job / "checkpoints" / "last.ckpt", weights_only=True)
        assert saved["hyper_parameters"]["model"]["ema"]["decay"] == decay


def test_resuming_takes_the_overrides_of_the_run_resumed_and_those_typed_on_top(tmp_path: Path) -> None:
    first = run_train(*SMOKE, "trainer.max_steps=2", "hydra.run.dir=first", folder=tmp_path)
    assert first.returncode == 0, first.stderr
    second = run_train("resume=first/checkpoints/last.ckpt", "trainer.max_steps=3", "hydra.run.dir=second", folder=tmp_path)
    assert second.returncode == 0, second.stderr
    saved = torch.load(tmp_path / "second" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 3
    assert saved["hyper_parameters"]["model"]["sampler"]["steps"] == 2
    assert saved["hyper_parameters"]["trainer"]["max_steps"] == 3
