"""Optimizer steps per second of the shipped training against plain Lightning and a plain loop over the same batches.

    python benchmarks/benchmark_training.py
    python benchmarks/benchmark_training.py data=woa model/denoiser=unet_base trainer.accelerator=gpu

All candidates train the same model in the same precision, on batches of the same loader, and take turns in every round, so
that a slow moment of the machine meets all of them alike. The table shows medians over the rounds. The plain loop has no
average, no log and no hook: it is the limit. The start of a run, validations and checkpoints are left out.
"""

from __future__ import annotations

import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import EMAWeightAveraging

from depthdif.build import build_callbacks, build_data, build_module, settled
from depthdif.config_folder import composed
from depthdif.data.datamodule import OceanDataModule
from depthdif.diffusion.module import TRAINING, DiffusionModule
from depthdif.diffusion.precision import autocast
from depthdif.terminal import silence_libraries

ROUNDS = 5
STEPS = 25
WARM_UP = 5  # steps at the start of each turn that are not counted

DEFAULTS = (
    "model/ema=suited", "logger=csv", "+trainer.limit_val_batches=0", "callbacks.progress=null",
    "callbacks.closing_table=null",
)  # fmt: skip


class StepTimes(Callback):
    """The moments at which batches end."""

    def __init__(self) -> None:
        self.moments: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        self.moments.append(moment())


def moment() -> float:
    """Now, when the device has finished."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def steps_per_second(moments: Sequence[float]) -> float:
    """Of the steps after the warm-up."""
    return (len(moments) - WARM_UP) / (moments[-1] - moments[WARM_UP - 1])


def plain_loop(cfg: DictConfig, data: OceanDataModule, module: DiffusionModule) -> float:
    """Forward, backward, clipping, optimizer."""
    device = torch.device("cuda" if torch.cuda.is_available() and cfg.trainer.accelerator != "cpu" else "cpu")
    module.to(device).train()
    optimizer = module.optimizer(module.parameters())
    moments: list[float] = []
    data.trainer = None
    loader = data.train_dataloader()
    while True:
        for batch in loader:
            with autocast(cfg.trainer.precision, device):
                errors, weights = module.errors(data.transfer_batch_to_device(batch, device, 0), TRAINING)
            (errors.sum() / weights.sum()).backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), cfg.trainer.gradient_clip_val)
            optimizer.step()
            optimizer.zero_grad()
            moments.append(moment())
            if len(moments) == cfg.trainer.max_steps:
                return steps_per_second(moments)


def plain_lightning(cfg: DictConfig, data: OceanDataModule, module: DiffusionModule) -> float:
    """Lightning and its own callback for averages, without logger and checkpoints."""
    callbacks = [EMAWeightAveraging(decay=0.99)]
    return fitted(cfg, data, module, callbacks, logger=False, enable_checkpointing=False)


def shipped(cfg: DictConfig, data: OceanDataModule, module: DiffusionModule) -> float:
    """As scripts/train.py trains, with average, logged values and the hooks of all callbacks."""
    callbacks = build_callbacks(cfg, data)
    return fitted(cfg, data, module, callbacks, logger=instantiate(cfg.logger.csv))


def fitted(
    cfg: DictConfig, data: OceanDataModule, module: DiffusionModule, callbacks: list[Callback], **more: Any
) -> float:
    """Steps per second of a fit."""
    times = StepTimes()
    trainer: Trainer = instantiate(cfg.trainer, callbacks=[*callbacks, times], **more)
    trainer.fit(module, datamodule=data)
    return steps_per_second(times.moments)


CANDIDATES: dict[str, Callable[[DictConfig, OceanDataModule, DiffusionModule], float]] = {
    "plain loop, no average": plain_loop,
    "Lightning, EMAWeightAveraging": plain_lightning,
    "depthdif": shipped,
}


def main(overrides: Sequence[str]) -> None:
    """Print the table."""
    silence_libraries()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    rounds: list[dict[str, float]] = [{} for _ in range(ROUNDS)]
    with tempfile.TemporaryDirectory() as folder:
        length = f"trainer.max_steps={STEPS + WARM_UP}"
        cfg = settled(composed("train", [*DEFAULTS, length, *overrides, f"output_dir={folder}"]))
        data = build_data(cfg)
        for number, speeds in enumerate(rounds):
            cfg.output_dir = f"{folder}/{number}"
            for name, train in CANDIDATES.items():
                speeds[name] = train(cfg, data, build_module(cfg, data))
    parameters = sum(parameter.numel() for parameter in build_module(cfg, data).parameters()) / 1e6
    print(f"\n{parameters:.2f} M parameters, batch {cfg.data.batch_size}, {cfg.trainer.precision}, "
          f"{torch.get_num_threads()} threads, {cfg.data.num_workers} workers, PyTorch {torch.__version__}\n")  # fmt: skip
    print("| training | steps/s | ratio |\n| --- | ---: | ---: |")
    first = next(iter(CANDIDATES))
    for name in CANDIDATES:
        speed = statistics.median(speeds[name] for speeds in rounds)
        ratio = statistics.median(speeds[name] / speeds[first] for speeds in rounds)
        print(f"| {name} | {speed:.2f} | {ratio:.2f} |")


if __name__ == "__main__":
    main(sys.argv[1:])
