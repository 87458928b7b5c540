"""Runs on two CPU processes, started by test_two_processes.py: python two_processes.py RUNS, a JSON list of lists of overrides.

One launch for all of them: to start and import costs more than to run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from pytorch_lightning import Callback, LightningModule, Trainer

from depthdif import UserError
from depthdif.callbacks.reconstruction import ema_callback
from depthdif.training import train

CONF = Path(__file__).resolve().parents[1] / "conf"


class Averages(Callback):
    """Writes the averages that each process holds to FOLDER/averages_RANK.pt."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        ema = ema_callback(trainer)
        assert ema is not None
        whole = {
            key: tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
            for key, tensor in ema.ema_weights.items()
        }
        torch.save(whole, self.folder / f"averages_{trainer.global_rank}.pt")


class Fail(Callback):
    """Fails in the first process alone, while the other one waits for it in the next step."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.is_global_zero:
            raise UserError("broken in the first process")


def main(runs: list[list[str]]) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        configs = [compose("train", overrides) for overrides in runs]
    for cfg in configs:
        train(cfg)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rank = int(os.environ.setdefault("LOCAL_RANK", "0"))
    # As torchrun does: the processes outlive the first of the runs.
    others = (
        [] if rank else [subprocess.Popen([sys.executable, *sys.argv], env={**os.environ, "LOCAL_RANK": "1"})]
    )
    main(json.loads(sys.argv[1]))
    sys.exit(max([process.wait() for process in others], default=0))
