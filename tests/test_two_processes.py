"""Two processes against one: DDP and FSDP2 on the CPU, through the main job."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

from depthdif.ema import load_weights
from depthdif.training import train

pytestmark = pytest.mark.end_to_end

ROOT = Path(__file__).resolve().parents[1]
COMMON = (
    "experiment=smoke",
    "data.field.depths=3",
    "data.field.times=1",
    # Two processes share three patches: the second one has one of them.
    "data.validation_patches=3",
    "model/first_guess=idw",
    "model.sampler.ensemble_size=4",
    "model.ema.extra_decays=[0.5]",
    # Without the normalisation of Adam, for which a gradient of rounding errors is as good as any.
    "model.optimizer._target_=torch.optim.SGD",
    "model.optimizer.fused=false",
    "+model.optimizer.momentum=0.9",
    "model.optimizer.lr=0.1",
    "model.lr_scheduler.num_warmup_steps=0",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
    "trainer.val_check_interval=2",
    "trainer.log_every_n_steps=1",
    "callbacks.progress=null",
    "callbacks.reconstruction.panel_depths=[0]",
    "logger=csv",
)
# Values that depend on the machine and its load.
MEASURED = ("train/samples_per_second", "train/data_wait_share", "train/memory_gb")
ONE = (*COMMON, "data.batch_size=6")
TWO = (
    *COMMON,
    "data.batch_size=3",
    "trainer.devices=2",
    "+callbacks.averages._target_=two_processes.Averages",
)


def run_alone(folder: Path, *overrides: str) -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("train", [*ONE, f"output_dir={folder}", *overrides])
    train(cfg)


def run_on_two(*runs: list[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, str(ROOT / "tests/two_processes.py"), json.dumps(runs)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of six steps: on one device, with DDP on two, and on one, two (FSDP2) and one again, two steps each."""
    folder = tmp_path_factory.mktemp("runs")
    run_alone(folder / "whole", "trainer.max_steps=6", "callbacks.checkpoint.save_top_k=-1")
    saved = f"resume={folder}/whole/checkpoints/step-2.ckpt"
    run_on_two(
        [*TWO, "trainer=ddp", "trainer.max_steps=6", *places(folder / "ddp")],
        [*TWO, "trainer=fsdp2", "trainer.max_steps=4", *places(folder / "fsdp2"), saved],
    )
    run_alone(folder / "back", "trainer.max_steps=6", f"resume={folder}/fsdp2/checkpoints/last.ckpt")
    return folder


def places(folder: Path) -> tuple[str, str]:
    folder.mkdir()
    return f"output_dir={folder}", f"+callbacks.averages.folder={folder}"


def logged(folder: Path, key: str) -> dict[int, dict[str, float]]:
    """What a run logged together with `key`, by its step."""
    with (folder / "metrics/metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row[key]]
    return {
        int(row["step"]): {
            name: float(value) for name, value in row.items() if value and name not in MEASURED
        }
        for row in rows
    }


def assert_close(first: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert first.keys() == other.keys()
    for name, tensor in first.items():
        # Float32 sums in another order, over six steps.
        assert torch.allclose(tensor, other[name], rtol=1e-4, atol=1e-6), name


def weights(folder: Path, which: str | float = "standard") -> dict[str, Tensor]:
    return load_weights(folder / "checkpoints/last.ckpt", which).state_dict


@pytest.mark.parametrize("key", ["val/loss", "train/loss"])
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_processes_log_the_values_of_one(folder: Path, strategy: str, key: str) -> None:
    whole, two = logged(folder / "whole", key), logged(folder / strategy, key)
    assert two
    for step, row in two.items():
        assert row.keys() == whole[step].keys()
        assert row == pytest.approx(whole[step], rel=1e-4, abs=1e-6)


def test_two_processes_with_half_the_batch_each_train_the_weights_of_one(folder: Path) -> None:
    for which in ("standard", "ema", 0.5):
        assert_close(weights(folder / "whole", which), weights(folder / "ddp", which))


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_averages_are_identical_on_all_processes(folder: Path, strategy: str) -> None:
    first, second = (torch.load(folder / strategy / f"averages_{rank}.pt") for rank in range(2))
    assert first.keys() == second.keys() == weights(folder / "whole").keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_goes_on_from_one_device_to_two_and_back(folder: Path) -> None:
    for which in ("standard", "ema", 0.5):
        assert_close(weights(folder / "whole", which), weights(folder / "back", which))
    position: dict[str, Any] = torch.load(folder / "back/checkpoints/last.ckpt", weights_only=True)
    assert position["OceanDataModule"]["position"]["draws"] == 36


def test_panels_are_of_the_same_patches(folder: Path) -> None:
    names = {path.name for path in (folder / "whole/panels").iterdir()}
    assert {path.name for path in (folder / "ddp/panels").iterdir()} == names


def test_an_error_of_the_first_process_alone_ends_both_with_one_line(tmp_path: Path) -> None:
    arguments = [*COMMON, "trainer=ddp", "trainer.devices=2", "+callbacks.fail._target_=two_processes.Fail"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/train.py"), *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("error: broken in the first process") == 1
    assert "Traceback" not in done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert [path.name for path in run.glob("*.log")] == ["train.log"]
