"""Real sweeps with every launcher and sweeper that we ship, on jobs of no work."""

from __future__ import annotations

import csv
import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from depthdif.sweep.job import read_record
from depthdif.sweep.plugins import prefer_our_configs

Finished = subprocess.CompletedProcess[str]

APP = Path(__file__).with_name("app.py")
CONF = Path(__file__).resolve().parents[2] / "conf" / "hydra"


def sweep(*arguments: str, folder: Path, **environment: str) -> Finished:
    plain = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    return subprocess.run(
        [sys.executable, str(APP), "-m", "hydra.sweep.dir=sweep", *arguments],
        cwd=folder,
        env=plain | environment,
        capture_output=True,
        text=True,
        timeout=500,
    )


def statuses(folder: Path) -> dict[str, str]:
    with (folder / "sweep" / "sweep.csv").open() as file:
        return {row["varied"]: row["status"] for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def one_failed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Finished]]:
    """The folder and the output of a sweep whose second job of three fails, run once for each launcher."""

    @functools.cache
    def swept(launcher: str) -> tuple[Path, Finished]:
        folder = tmp_path_factory.mktemp(launcher)
        return folder, sweep(f"hydra/launcher={launcher}", "seed=1,-2,3", folder=folder)

    return swept


@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_a_failed_job_does_not_lose_the_others(
    one_failed: Callable[[str], tuple[Path, Finished]], launcher: str
) -> None:
    folder, finished = one_failed(launcher)
    assert finished.returncode == 1
    assert statuses(folder) == {"seed=1": "finished", "seed=-2": "failed", "seed=3": "finished"}
    reason = "seed is -2: expected 0 or more; set seed=0"
    assert f"job 1 failed: {reason}" in finished.stdout
    assert "again:" in finished.stdout
    assert "Traceback" not in finished.stdout + finished.stderr
    assert "deprecated" not in finished.stderr
    assert "Traceback" in (folder / "sweep" / "1" / "train.log").read_text()
    record = read_record(folder / "sweep" / "1")
    assert record is not None
    assert record.reason == reason


def test_parallel_jobs_do_not_fight_over_the_cores(
    one_failed: Callable[[str], tuple[Path, Finished]],
) -> None:
    threads = {
        launcher: int((one_failed(launcher)[0] / "sweep" / "0" / "threads").read_text())
        for launcher in ("joblib", "submitit_local")
    }
    assert threads == {"joblib": max((os.cpu_count() or 1) // 2, 1), "submitit_local": 1}


def test_the_same_command_in_the_same_folder_keeps_the_finished_jobs_and_another_is_refused(
    tmp_path: Path,
) -> None:
    first = sweep("seed=1,2", folder=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "again:" not in first.stdout
    assert "python scripts/compare.py runs=[sweep]" in first.stdout
    before = (tmp_path / "sweep" / "0" / "job.json").read_bytes()
    assert sweep("seed=1,2", folder=tmp_path).returncode == 0
    assert (tmp_path / "sweep" / "0" / "job.json").read_bytes() == before
    other = sweep("seed=2", folder=tmp_path)
    assert other.returncode == 1
    assert (
        other.stderr
        == "error: hydra.sweep.dir=sweep contains another sweep; set hydra.sweep.dir=FOLDER for a new one\n"
    )


def test_later_batches_of_a_sweep_run_although_a_job_of_the_first_failed(tmp_path: Path) -> None:
    sweep("hydra.sweeper.max_batch_size=1", "seed=-1,2,97", folder=tmp_path)
    assert statuses(tmp_path) == {"seed=-1": "failed", "seed=2": "finished", "seed=97": "failed"}
    record = read_record(tmp_path / "sweep" / "2")
    assert record is not None
    assert record.reason == "its score is nan: it diverged, or was never validated"


def test_ctrl_c_stops_all_jobs_and_still_shows_the_table(tmp_path: Path) -> None:
    finished = sweep("seed=1,98,3", folder=tmp_path)
    assert finished.returncode == 130
    assert "Traceback" not in finished.stderr
    assert statuses(tmp_path) == {"seed=1": "finished", "seed=98": "running"}
    assert "unfinished" in finished.stdout


def test_a_process_of_joblib_that_is_killed_is_one_line_and_the_table_is_shown(tmp_path: Path) -> None:
    finished = sweep("hydra/launcher=joblib", "seed=99,99", folder=tmp_path)
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr
    assert "error: a process of the sweep was killed" in finished.stderr
    assert set(statuses(tmp_path).values()) == {"running"}
    assert "again:" in finished.stdout


def test_optuna_counts_a_failed_trial_as_failed_and_a_study_goes_on_from_its_storage(tmp_path: Path) -> None:
    import optuna

    study = ("hydra/sweeper=optuna", "hydra.sweeper.storage=sqlite:///study.db", "hydra.sweeper.study_name=one",
             "hydra.sweeper.sampler.seed=0", "hydra.sweeper.n_trials=3", "seed=choice(-5,7)")  # fmt: skip
    finished = sweep(*study, folder=tmp_path)
    assert finished.returncode == 1
    assert set(statuses(tmp_path).values()) == {"finished", "failed"}
    assert "again:" not in finished.stdout
    sweep(*study, "hydra.sweep.dir=more", "hydra.sweeper.sampler.seed=1", folder=tmp_path)
    trials = optuna.load_study("one", f"sqlite:///{tmp_path / 'study.db'}").trials
    assert len(trials) == 6
    for trial in trials:
        assert (trial.state.name, trial.value) == {7: ("COMPLETE", 7.0), -5: ("FAIL", None)}[
            trial.params["seed"]
        ]
        assert 0.01 <= trial.params["model.ema.decay.share"] <= 0.5
        assert 1e-4 <= trial.params["model.optimizer.lr"] <= 5e-3


@pytest.mark.parametrize(
    ("choice", "extra"),
    [
        ("hydra/launcher=submitit_slurm", "submitit"),
        ("hydra/sweeper=optuna", "optuna"),
    ],
)
def test_without_its_plugin_a_launcher_or_sweeper_reports_what_to_install_and_nothing_is_written(
    tmp_path: Path, choice: str, extra: str
) -> None:
    finished = sweep("--without-plugins", choice, "seed=1,2", folder=tmp_path)
    assert finished.returncode == 1
    (line,) = finished.stderr.splitlines()
    assert line.startswith(f"error: this {choice.partition('=')[0]} needs a plugin that is not installed; ")
    assert line.endswith(f"run pip install -c constraints.txt -e '.[{extra}]'")
    assert not list(tmp_path.iterdir())


def test_a_sweep_without_any_plugin_works(tmp_path: Path) -> None:
    assert sweep("--without-plugins", "seed=1,2", folder=tmp_path).returncode == 0


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "launcher").glob("*.yaml")))
def test_every_launcher_config_builds_and_takes_the_fields_of_its_plugin(
    compose_with_hydra: Callable[..., DictConfig], name: str
) -> None:
    from hydra_plugins.hydra_joblib_launcher.config import JobLibLauncherConf
    from hydra_plugins.hydra_submitit_launcher.config import LocalQueueConf, SlurmQueueConf

    schema = {
        "joblib": JobLibLauncherConf,
        "submitit_local": LocalQueueConf,
        "submitit_slurm": SlurmQueueConf,
    }[name]
    launcher = compose_with_hydra(f"hydra/launcher={name}").hydra.launcher
    assert set(launcher) == set(OmegaConf.structured(schema))
    # The plugin knows no other types than those of its schema.
    OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.masked_copy(launcher, plain_fields(launcher)))
    assert isinstance(Plugins.instance()._instantiate(launcher), Launcher)


def plain_fields(launcher: DictConfig) -> list[str]:
    return [name for name in launcher if not OmegaConf.is_interpolation(launcher, name)]


def test_the_slurm_settings_become_the_options_of_sbatch(
    compose_with_hydra: Callable[..., DictConfig],
) -> None:
    from submitit.slurm.slurm import _make_sbatch_string

    launcher = compose_with_hydra(
        "hydra/launcher=submitit_slurm", "hydra.launcher.partition=gpu"
    ).hydra.launcher
    instance = instantiate(launcher)
    assert instance.params["max_num_timeout"] == 4
    same = ("signal_delay_s", "array_parallelism", "gpus_per_node", "cpus_per_task", "comment", "partition")
    options = {name: launcher[name] for name in same} | {
        "time": launcher.timeout_min,
        "mem": f"{launcher.mem_gb}GB",
        "map_count": 3,
        "additional_parameters": OmegaConf.to_container(launcher.additional_parameters),
    }
    script = _make_sbatch_string(command="train", folder="folder", **options)
    for line in ("time=720", "mem=32GB", "gpus-per-node=1", "cpus-per-task=8", "partition=gpu", "requeue", "signal=USR2@180",
                 "array=0-2%3"):  # fmt: skip
        assert f"#SBATCH --{line}\n" in script
    assert "--comment=multirun/" in script


def test_the_optuna_config_builds_its_sweeper(compose_with_hydra: Callable[..., DictConfig]) -> None:
    assert isinstance(instantiate(compose_with_hydra("hydra/sweeper=optuna").hydra.sweeper), Sweeper)


@pytest.fixture
def compose_with_hydra() -> Callable[..., DictConfig]:
    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig

    def composed(*overrides: str) -> DictConfig:
        prefer_our_configs()
        with initialize_config_dir(str(CONF.parent), version_base="1.3"):
            cfg = compose("train", overrides=list(overrides), return_hydra_config=True)
            HydraConfig.instance().set_config(cfg)
            return cfg

    return composed
