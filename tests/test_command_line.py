"""The programs on the command line: help, errors in one line, sweeps, resuming."""

from __future__ import annotations

import csv
import importlib
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.errors import InstantiationException
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError

from depthdif import UserError
from depthdif.build import config_errors
from depthdif.checkpoints.resume import keep_decays
from depthdif.command_line import help_parts, readable_errors, with_run_overrides
from depthdif.config_folder import composed, known_keys
from depthdif.ema.callback import EMAConfigurationError
from depthdif.terminal import command, lines_about, suggestions
from depthdif.training import train

RunScript = Callable[..., subprocess.CompletedProcess[str]]

ROOT = Path(__file__).resolve().parents[1]
SMOKE = (
    "experiment=smoke",
    "logger=csv",
    "trainer.precision=32-true",
    "callbacks.progress=null",
    "callbacks.reconstruction.panel_samples=1",
    "callbacks.reconstruction.panel_depths=[0]",
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
        "model/denoiser: unet_2x2, unet_base, unet_small, unet_tiny",
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
def test_the_error_about_an_unknown_key_or_option_shows_the_nearest_valid_one(
    override: str, line: str
) -> None:
    arguments = ["model/denoiser=unet_base", override, "hydra.run.dir=x", "-m"]
    assert suggestions(arguments, known_keys("train")) == [f"error: {line}"]


def test_an_unknown_key_on_the_command_line_fails_with_hydras_message_and_the_nearest_key(
    tmp_path: Path,
) -> None:
    # In a process of its own, which imports no more than this message needs.
    finished = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "train.py"), "model.ema.decya=0.9"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"},
        capture_output=True,
        text=True,
        timeout=300,
    )
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
def test_bad_input_is_one_line_with_the_key_to_set_and_nothing_is_written(
    small_run: Callable[..., DictConfig], tmp_path: Path, overrides: tuple[str, ...], words: tuple[str, ...]
) -> None:
    with pytest.raises((ValueError, OSError, InstantiationException)) as raised:
        train(small_run(*overrides))
    (line,) = lines_about(raised.value, "train")
    assert line.startswith("error: ")
    assert "\n" not in line
    assert all(word in line for word in words)
    assert not list(tmp_path.iterdir())


def test_bad_input_on_the_command_line_fails_without_a_traceback(
    run_script: RunScript, tmp_path: Path
) -> None:
    finished = run_script("train", *SMOKE, "model.ema.decay=1.5", folder=tmp_path)
    assert finished.returncode == 1
    (line,) = error_lines(finished)
    assert "1.5" in line
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize(
    "bug", [ZeroDivisionError("x"), ValueError("not enough values to unpack"), TypeError("x")]
)
def test_a_bug_keeps_its_traceback(bug: Exception) -> None:
    with pytest.raises(type(bug)), readable_errors("train"):
        raise bug


@pytest.mark.parametrize(
    "error",
    [
        UserError("data.path=x: no such file;\n set data.path"),
        OSError("disk full"),
        MisconfigurationException("devices=9"),
        EMAConfigurationError("decay=2"),
        ConfigKeyError("no key"),
        InstantiationException("Error in call to target"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_that_a_user_can_correct_is_one_line_and_exit_code_1(
    error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    with pytest.raises(SystemExit) as ended, readable_errors("train"):
        raise error from ValueError("decay=2")
    assert ended.value.code == 1
    line, hint = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "HYDRA_FULL_ERROR=1" in hint
    assert "HYDRA_FULL_ERROR" not in os.environ
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(type(error)), readable_errors("train"):
        raise error


def test_a_process_that_another_one_starts_prints_errors_as_that_one_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    inherited: dict[str, str] = {}
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    with readable_errors("train"):
        inherited.update(os.environ)
    for name in inherited.keys() - os.environ.keys():
        monkeypatch.setenv(name, inherited[name])
    assert os.environ["HYDRA_FULL_ERROR"] == "1"
    with pytest.raises(SystemExit), readable_errors("train"):
        raise UserError("broken")
    assert capsys.readouterr().err.startswith("error: broken")


def test_an_error_of_a_constructor_in_the_config_is_a_user_error() -> None:
    with pytest.raises(UserError, match="size=3"), config_errors():
        raise ValueError("size=3")
    with pytest.raises(UserError, match="unexpected keyword"), config_errors():
        raise TypeError("unexpected keyword")


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("scripts/train.py", "python scripts/posthoc_ema.py"),
        ("/elsewhere/scripts/train.py", "python /elsewhere/scripts/posthoc_ema.py"),
        ("/usr/bin/depthdif-train", "depthdif-posthoc-ema"),
        ("/usr/bin/pytest", "python scripts/posthoc_ema.py"),
    ],
)
def test_commands_are_printed_in_the_form_of_the_running_program(
    monkeypatch: pytest.MonkeyPatch, program: str, expected: str
) -> None:
    monkeypatch.setattr(sys, "argv", [program])
    assert command("posthoc_ema") == expected


AWKWARD = (
    "data.path='/x y/z.nc'", r"data.path='it\'s'", r'data.path="C:\dir\\"', "data.seed=${seed}", "~data.training",
    "+model.x={a: [1,2]}", "data.variable=", "model/sampler=ddim",
)  # fmt: skip


def test_arguments_about_data_and_model_reach_the_run_unchanged() -> None:
    others = [
        "checkpoint=a.ckpt",
        "--cfg",
        "job",
        "model/first_guess@baselines.oi=idw",
        "models=1",
        "hydra.run.dir=data",
    ]
    arguments = with_run_overrides([*others[:3], *AWKWARD, *others[3:]])
    assert arguments[:-1] == others
    assert list(composed("export", arguments[-1:]).run_overrides) == [*AWKWARD]
    assert with_run_overrides(others) == others


def test_a_sweep_over_data_and_model_of_a_run_is_one_over_lists() -> None:
    arguments = with_run_overrides(
        ["-m", "model.sampler.steps=5,9", "data.seed=range(0,2)", "data.batch_size=4", "seed=1,2"]
    )
    assert arguments == [
        "-m", "seed=1,2", "run_overrides=" + ",".join(
            f"['model.sampler.steps={steps}','data.seed={seed}','data.batch_size=4']" for steps in (5, 9) for seed in (0, 1)
        ),
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"expected values or a range .*model\.sampler\.steps=1,2"):
        with_run_overrides(["-m", "model.sampler.steps=interval(1,9)"])


@pytest.mark.parametrize(
    "name", ["evaluate", "predict", "export", "posthoc_ema", "compare", "wandb_workspace"]
)
def test_the_help_of_a_program_lists_all_its_values_with_their_comments(name: str) -> None:
    parts = help_parts(name)
    description, values = parts["description"], parts["values"]
    keys = {line.partition("=")[0].removesuffix(".KEY") for line in values.splitlines()}
    assert keys | {"run_overrides"} >= {key for key in composed(name) if key != "baselines"}
    assert all(len(line.split("  ")) > 1 for line in values.splitlines())
    assert description
    assert "$" not in description + values
    required = "checkpoint=PATH " if name in ("evaluate", "export", "predict") else ""
    if name == "predict":
        required += "observations=PATH times=PATH output=PATH "
    assert parts["usage"] == f"python scripts/{name}.py {required}[KEY=VALUE] ..."


def test_the_help_of_a_program_shows_description_usage_and_values(
    run_script: RunScript, tmp_path: Path
) -> None:
    printed = run_script("export", "--help", folder=tmp_path).stdout
    assert printed.startswith("Write weights of a checkpoint as a folder that diffusers loads")
    assert "checkpoint=PATH [KEY=VALUE] ...\n" in printed
    assert "\nwhich=auto  " in printed
    assert "export.py --cfg job" in printed


def test_every_entry_point_is_a_program() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for name, target in scripts.items():
        module, _, function = target.partition(":")
        assert callable(getattr(importlib.import_module(module), function))
        assert (ROOT / "scripts" / f"{function}.py").is_file()
        assert name == f"depthdif-{function.replace('_', '-')}"


def test_arguments_about_data_and_model_are_set_on_the_run_of_the_checkpoint(
    run_script: RunScript, tmp_path: Path
) -> None:
    period = ("data/validation=time_range", "data.validation.start=2000-04", "data.validation.stop=2000-04")
    trained = run_script(
        "train", *SMOKE, *period, "trainer.max_steps=1", "hydra.run.dir=run", folder=tmp_path
    )
    assert trained.returncode == 0, trained.stderr
    checkpoint = "checkpoint=run/checkpoints/last.ckpt"
    options = ("data.validation.start=2000-03", "model/sampler=ddim", "model.sampler.steps=2")
    exported = run_script("export", checkpoint, *options, "output=exported", folder=tmp_path)
    assert exported.returncode == 0, exported.stderr
    assert "scheduling_ddim" in (tmp_path / "exported" / "ocean.json").read_text()
    refused = run_script("export", checkpoint, "data.validation.strat=2000-03", folder=tmp_path)
    assert refused.returncode == 1
    assert error_lines(refused) == [
        "error: no key 'data.validation.strat'; the nearest valid one is data.validation.start"
    ]


def test_an_output_folder_that_cannot_be_written_is_an_error(run_script: RunScript, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    finished = run_script("train", *SMOKE, "hydra.run.dir=taken/run", folder=tmp_path)
    assert finished.returncode == 1
    (line,) = error_lines(finished)
    assert "taken/run" in line
    assert "hydra.run.dir=" in line


def test_a_sweep_trains_each_job_in_its_folder_groups_them_in_wandb_and_ends_with_a_table(
    run_script: RunScript, tmp_path: Path, wandb_records: Callable[[Path], list[dict[str, Any]]]
) -> None:
    swept = ("model.ema.decay=0.5,1.5,0.9", "trainer.max_steps=2")
    finished = run_script("train", "-m", *SMOKE, "logger=wandb", *swept, folder=tmp_path)
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


def test_an_interrupted_job_of_a_sweep_continues_from_its_last_checkpoint(
    run_script: RunScript, tmp_path: Path
) -> None:
    interrupted = run_script("train", *SMOKE, "trainer.max_steps=2", "hydra.run.dir=sweep/0", folder=tmp_path)
    assert interrupted.returncode == 0, interrupted.stderr
    again = run_script(
        "train",
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


def test_a_longer_run_keeps_the_computed_decays_of_the_resumed_run() -> None:
    recorded = {"model": {"ema": {"decay": 0.983, "extra_decays": [0.966], "start_step": 9}}}
    node = {"_target_": "a.function"}
    resumed = OmegaConf.create({"model": {"ema": {"decay": node, "extra_decays": node, "start_step": 0}}})
    keep_decays(resumed, recorded)
    assert resumed == {"model": {"ema": {"decay": 0.983, "extra_decays": [0.966], "start_step": 0}}}


def test_resuming_applies_the_overrides_of_the_resumed_run_and_then_those_of_the_command_line(
    run_script: RunScript, tmp_path: Path
) -> None:
    first = run_script("train", *SMOKE, "trainer.max_steps=2", "hydra.run.dir=first", folder=tmp_path)
    assert first.returncode == 0, first.stderr
    longer = ("resume=first/checkpoints/last.ckpt", "trainer.max_steps=3", "hydra.run.dir=second")
    second = run_script("train", *longer, folder=tmp_path)
    assert second.returncode == 0, second.stderr
    saved = torch.load(tmp_path / "second" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 3
    assert saved["hyper_parameters"]["model"]["sampler"]["steps"] == 2
    assert saved["hyper_parameters"]["trainer"]["max_steps"] == 3
