"""What a user sees at the prompt: help, errors in one line, sweeps, resuming."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from depthdif.checkpoints.resume import keep_decays
from depthdif.command_line import readable_errors
from depthdif.config_folder import known_keys
from depthdif.terminal import lines_about, suggestions
from depthdif.training import train

ROOT = Path(__file__).resolve().parents[1]
SMOKE = (
    "experiment=smoke",
    "logger=csv",
    "trainer.precision=32-true",
    "callbacks.progress=null",
    "callbacks.reconstruction.panel_samples=1",
    "callbacks.reconstruction.panel_depths=[0]",
)


def run_train(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "train.py"), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1200,
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
    for words in (
        "model/denoiser: unet_base, unet_small, unet_tiny",
        "model.ema.enabled=true",
        "resume=",
        "-m model/ema=suited model.ema.decay=0.9",
    ):
        assert words in finished.stdout


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("model.ema.decya=0.9", "no key 'model.ema.decya'; the nearest valid one is model.ema.decay"),
        ("data.batchsize=8", "no key 'data.batchsize'; the nearest valid one is data.batch_size"),
        ("model/denoizer=unet_base", "no key 'model/denoizer'; the nearest valid one is model/denoiser"),
        ("trainer.max_step=10", "no key 'trainer.max_step'; the nearest valid one is trainer.max_steps"),
        ("model/ema=quik", "no option model/ema=quik; the nearest valid one is model/ema=quick"),
    ],
)
def test_an_unknown_key_or_option_is_answered_with_the_nearest_valid_one(override: str, line: str) -> None:
    arguments = ["model/denoiser=unet_base", override, "hydra.run.dir=x", "-m"]
    assert suggestions(arguments, known_keys("train")) == [f"error: {line}"]


def test_an_unknown_key_at_the_prompt_fails_with_hydras_message_and_the_nearest_key(tmp_path: Path) -> None:
    finished = run_train("model.ema.decya=0.9", folder=tmp_path)
    assert finished.returncode == 1
    assert "Key 'decya' is not in struct" in finished.stderr
    assert error_lines(finished) == [
        "error: no key 'model.ema.decya'; the nearest valid one is model.ema.decay"
    ]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("data=glorys", "data.path=nowhere.nc"), ("nowhere.nc", "data.path")),
        (("data=woa", "data.variable=salinity"), ("salinity", "temperature", "data.variable")),
        (("model.ema.enabled=true", "model.ema.decay=1.5"), ("1.5", "model.ema.decay=")),
        (
            ("model.ema.enabled=true", "model.ema.apply_every_n_steps=0"),
            ("0", "model.ema.apply_every_n_steps="),
        ),
        (("model.ema.enabled=true", "model.ema.start_step=-1"), ("-1", "model.ema.start_step=")),
        (("resume=nowhere.ckpt",), ("nowhere.ckpt", "resume=")),
        (("data.patch_size=400",), ("400", "data.patch_size")),
        (("data.validation_patches=1000000",), ("1000000", "data.validation_patches")),
        (("model.sampler.steps=2000",), ("2000", "model.sampler.steps=1000")),
        (("model.sampler.steps=0",), ("0", "model.sampler.steps=")),
        (("callbacks.reconstruction.panel_samples=99",), ("99", "callbacks.reconstruction.panel_samples=")),
        (("model.noise_schedule.prediction_type=noise",), ("noise", "model.noise_schedule.prediction_type=")),
    ],
    ids=lambda value: " ".join(value),
)
def test_bad_input_is_one_line_that_says_what_to_type_and_nothing_is_written(
    small_run: Callable[..., DictConfig], tmp_path: Path, overrides: tuple[str, ...], words: tuple[str, ...]
) -> None:
    with pytest.raises((ValueError, OSError, InstantiationException)) as raised:
        train(small_run(*overrides))
    (line,) = lines_about(raised.value, "train")
    assert line.startswith("error: ")
    assert "\n" not in line
    assert all(word in line for word in words)
    assert not list(tmp_path.iterdir())


def test_bad_input_at_the_prompt_fails_without_a_traceback(tmp_path: Path) -> None:
    finished = run_train(*SMOKE, "model.ema.decay=1.5", folder=tmp_path)
    assert finished.returncode == 1
    (line,) = error_lines(finished)
    assert "1.5" in line
    assert "Traceback" not in finished.stderr


def test_our_own_mistakes_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError), readable_errors("train"):
        _ = 1 / 0


def test_an_output_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    finished = run_train(*SMOKE, "hydra.run.dir=taken/run", folder=tmp_path)
    assert finished.returncode == 1
    (line,) = error_lines(finished)
    assert "taken/run" in line
    assert "hydra.run.dir=" in line


def test_a_sweep_trains_each_job_in_its_folder_groups_them_in_wandb_and_ends_with_a_table(
    tmp_path: Path, wandb_records: Callable[[Path], list[dict[str, Any]]]
) -> None:
    finished = run_train(
        "-m", *SMOKE, "logger=wandb", "model.ema.decay=0.5,1.5,0.9", "trainer.max_steps=2", folder=tmp_path
    )
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr + finished.stdout
    (sweep,) = (tmp_path / "multirun").iterdir()
    for job, decay in (("0", 0.5), ("2", 0.9)):
        saved = torch.load(sweep / job / "checkpoints" / "last.ckpt", weights_only=True)
        assert saved["hyper_parameters"]["model"]["ema"]["decay"] == decay
        (run,) = [record["run"] for record in wandb_records(sweep / job) if record.get("type") == "run"]
        assert run["run_group"] == sweep.name
        assert run["display_name"] == f"{sweep.name}/{job} decay={decay}"
    with (sweep / "sweep.csv").open() as file:
        jobs = list(csv.DictReader(file))
    assert [job["varied"] for job in jobs] == ["decay=0.5", "decay=1.5", "decay=0.9"]
    assert [job["status"] for job in jobs] == ["finished", "failed", "finished"]
    assert "model.ema.decay=" in jobs[1]["reason"]
    for job in (jobs[0], jobs[2]):
        assert float(job["val_standard/recon_mse_full_recon"]) > 0
        assert job["val_ema/recon_mse_full_recon"] == job["val/recon_mse_full_recon"]


def test_a_job_of_a_sweep_that_was_cut_off_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    cut_off = run_train(*SMOKE, "trainer.max_steps=2", "hydra.run.dir=sweep/0", folder=tmp_path)
    assert cut_off.returncode == 0, cut_off.stderr
    again = run_train(
        "-m",
        *SMOKE,
        "trainer.max_steps=4",
        "trainer.val_check_interval=2",
        "hydra.sweep.dir=sweep",
        folder=tmp_path,
    )
    assert again.returncode == 0, again.stderr
    saved = torch.load(tmp_path / "sweep" / "0" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 4
    with (tmp_path / "sweep" / "0" / "metrics" / "metrics.csv").open() as file:
        steps = [row["step"] for row in csv.DictReader(file) if row["val/recon_mse_full_recon"]]
    assert steps == ["1", "3"]


def test_a_longer_run_goes_on_with_the_decays_that_the_run_resumed_had_worked_out() -> None:
    recorded = {"model": {"ema": {"decay": 0.983, "extra_decays": [0.966], "start_step": 9}}}
    law = {"_target_": "a.law"}
    resumed = OmegaConf.create({"model": {"ema": {"decay": law, "extra_decays": law, "start_step": 0}}})
    keep_decays(resumed, recorded)
    assert resumed == {"model": {"ema": {"decay": 0.983, "extra_decays": [0.966], "start_step": 0}}}


def test_resuming_takes_the_overrides_of_the_run_resumed_and_those_typed_on_top(tmp_path: Path) -> None:
    first = run_train(*SMOKE, "trainer.max_steps=2", "hydra.run.dir=first", folder=tmp_path)
    assert first.returncode == 0, first.stderr
    second = run_train(
        "resume=first/checkpoints/last.ckpt", "trainer.max_steps=3", "hydra.run.dir=second", folder=tmp_path
    )
    assert second.returncode == 0, second.stderr
    saved = torch.load(tmp_path / "second" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 3
    assert saved["hyper_parameters"]["model"]["sampler"]["steps"] == 2
    assert saved["hyper_parameters"]["trainer"]["max_steps"] == 3
