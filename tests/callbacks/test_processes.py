"""What the processes of a run are started with."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import open_dict
from pytorch_lightning import Trainer

from depthdif.callbacks.processes import Processes, arguments_of_this_job, threads_of_each

CONF = Path(__file__).resolve().parents[2] / "conf"


def start_job(mode: RunMode) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", ["seed=1", "trainer=ddp"], return_hydra_config=True)
    with open_dict(cfg):
        cfg.hydra.mode = mode
        cfg.hydra.runtime.output_dir = "multirun/today/1"
        cfg.hydra.run.dir = "runs/today"
    HydraConfig.instance().set_config(cfg)


@pytest.mark.parametrize(
    ("mode", "arguments", "folder"),
    [
        (RunMode.MULTIRUN, ["train.py", "seed=1", "trainer=ddp"], "multirun/today/1"),
        (RunMode.RUN, ["train.py", "-m", "seed=0,1", "trainer=ddp"], "runs/today"),
    ],
    ids=["multirun", "run"],
)
def test_the_others_get_the_arguments_and_the_folder_of_the_job(
    monkeypatch: pytest.MonkeyPatch, mode: RunMode, arguments: list[str], folder: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", "seed=0,1", "trainer=ddp"])
    start_job(mode)
    with arguments_of_this_job():
        assert sys.argv == arguments
        assert HydraConfig.get().run.dir == folder
    assert sys.argv == ["train.py", "-m", "seed=0,1", "trainer=ddp"]


@pytest.mark.parametrize(
    ("environment", "share"), [({}, 2), ({"LOCAL_RANK": "0"}, 4)], ids=["started", "slurm"]
)
def test_processes_that_lightning_starts_share_the_threads(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], share: int
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_checkpointing=False)
    assert threads_of_each(trainer) == share


def test_a_single_process_leaves_its_environment_alone() -> None:
    trainer = Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
    before = dict(os.environ)
    with Processes().started(trainer):
        assert dict(os.environ) == before
