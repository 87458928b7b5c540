"""What it costs to try five decays: five runs, or one run that keeps five averages (`model/ema=sweep`).

    python benchmarks/benchmark_sweep.py

Trains the default model on the packaged sample three times at once, without an average, with one and with five. The three runs
take turns step by step, each waiting while another works, so that a slow moment of the machine meets all alike; in the end
each validates, with its reconstructions and panels. The table has medians over the steps, and over the ratios
of steps that follow each other.
"""

from __future__ import annotations

import logging
import os
import statistics
import tempfile
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from depthdif.build import build_callbacks, build_data, build_module, settled
from depthdif.config_folder import CONF
from depthdif.data.datamodule import OceanDataModule
from depthdif.training import silence_libraries

STEPS = 40  # of each run
WARM_UP = 5  # the first ones, which are left out
# The run that shares are worked out for: conf/trainer/default.yaml.
RUN_STEPS, RUN_VALIDATIONS = 600, 4

NONE, ONE, FIVE = "no average", "one decay", "five decays"
OVERRIDES = {NONE: [], ONE: ["model/ema=suited"], FIVE: ["model/ema=sweep"]}


class Turns:
    """Lets one of several threads work at a time, each in its turn."""

    def __init__(self, names: list[str]) -> None:
        self.waiting = list(names)
        self.changed = threading.Condition()

    def take(self, name: str) -> None:
        """Wait until it is the turn of `name`."""
        with self.changed:
            self.changed.wait_for(lambda: self.waiting[0] == name)

    def leave(self, name: str, for_good: bool = False) -> None:
        """End the turn of `name`."""
        with self.changed:
            self.waiting.remove(name)
            self.waiting += [] if for_good else [name]
            self.changed.notify_all()


class Stopwatch(Callback):
    """Seconds of each step, batch and average included, and of each validation, while it is the turn of the run."""

    def __init__(self, name: str, turns: Turns) -> None:
        self.name, self.turns = name, turns
        self.steps: list[float] = []
        self.validations: list[float] = []
        self.started = 0.0

    def start(self) -> None:
        """Wait for the turn and begin."""
        self.turns.take(self.name)
        self.started = time.perf_counter()

    def stop(self) -> float:
        """Seconds since the turn began, once the device has finished; the turn ends."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - self.started

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with the first batch."""
        self.start()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        """End a step: the batch, the weights and, as this callback is the last, the averages."""
        self.steps.append(self.stop())
        self.turns.leave(self.name)
        self.start()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with the validation alone."""
        self.started = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End a validation."""
        self.validations.append(self.stop())
        self.turns.leave(self.name)
        self.start()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Nobody waits for a run that is over, for whatever reason."""
        self.turns.leave(self.name, for_good=True)


def config(name: str) -> DictConfig:
    """The default run with the averages of a candidate."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(
            "train", overrides=["output_dir=unused", f"trainer.max_steps={RUN_STEPS}", *OVERRIDES[name]]
        )
    return settled(cfg)


def prepared(
    cfg: DictConfig, folder: Path, stopwatch: Stopwatch
) -> tuple[Trainer, LightningModule, OceanDataModule]:
    """A run that is ready to begin, without what prints and what writes checkpoints."""
    cfg.callbacks.reconstruction.folder = str(folder)
    data = build_data(cfg)
    callbacks = [callback for callback in build_callbacks(cfg, data) if not is_left_out(callback)]
    trainer = Trainer(
        accelerator=cfg.trainer.accelerator,
        devices=1,
        max_steps=STEPS,
        val_check_interval=STEPS,
        check_val_every_n_epoch=None,
        gradient_clip_val=cfg.trainer.gradient_clip_val,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*callbacks, stopwatch],
    )
    return trainer, build_module(cfg, data), data


def is_left_out(callback: Callback) -> bool:
    """Whether a callback is none of what is compared."""
    others = ("ClosingTable", "FinalValidation", "LearningRateMonitor", "StepProgress")
    return isinstance(callback, ModelCheckpoint) or type(callback).__name__ in others


def measured(configs: dict[str, DictConfig]) -> dict[str, Stopwatch]:
    """The stopwatch of each candidate, after all have run."""
    turns = Turns(list(configs))
    stopwatches = {name: Stopwatch(name, turns) for name in configs}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(len(configs)) as threads:
        runs = {name: prepared(cfg, Path(folder, name), stopwatches[name]) for name, cfg in configs.items()}
        for fit in [
            threads.submit(trainer.fit, module, datamodule=data) for trainer, module, data in runs.values()
        ]:
            fit.result()
    return stopwatches


def row(what: str, seconds: dict[str, list[float]]) -> dict[str, float]:
    """Print the medians of the candidates and of their ratios to the run with one decay; the ratios by candidate."""
    ratios = {
        name: [time / one for time, one in zip(times, seconds[ONE], strict=True)]
        for name, times in seconds.items()
    }
    middle = {name: statistics.median(of_steps) for name, of_steps in ratios.items()}
    spread = (
        statistics.quantiles(ratios[FIVE], n=4, method="inclusive")
        if len(ratios[FIVE]) > 1
        else ratios[FIVE] * 3
    )
    times = " | ".join(f"{1e3 * statistics.median(seconds[name]):.0f} ms" for name in (NONE, ONE, FIVE))
    print(
        f"| {what} | {times} | {middle[NONE]:.3f} | {middle[FIVE]:.3f} ({spread[0]:.3f} to {spread[2]:.3f}) |"
    )
    return middle


def main() -> None:
    """Print the table."""
    silence_libraries()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    configs = {name: config(name) for name in (NONE, ONE, FIVE)}
    stopwatches = measured(configs)
    ema = configs[FIVE].model.ema
    device = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"CPU, {torch.get_num_threads()} threads"
    )
    print(f"{device}, load {os.getloadavg()[0]:.1f}; decays {sorted([ema.decay, *ema.extra_decays])}\n")
    print(f"| | {NONE} | {ONE} | {FIVE} | {NONE} / {ONE} | {FIVE} / {ONE} (quartiles) |\n|{' --- |' * 6}")
    steps = {name: stopwatch.steps[WARM_UP:] for name, stopwatch in stopwatches.items()}
    validations = {name: stopwatch.validations for name, stopwatch in stopwatches.items()}
    of_step, of_validation = row("step", steps), row("validation with its panels", validations)
    one_step, one_validation = (statistics.median(times[ONE]) for times in (steps, validations))
    training, validating = RUN_STEPS * one_step, RUN_VALIDATIONS * one_validation
    whole = (training * of_step[FIVE] + validating * of_validation[FIVE]) / (training + validating)
    print(
        f"\nOne run over five decays for one run with one decay: {of_step[FIVE]:.3f} validation apart, {whole:.2f} with "
        f"{RUN_VALIDATIONS} validations in {RUN_STEPS} steps; for five runs: {of_step[FIVE] / 5:.3f} and {whole / 5:.2f}"
    )


if __name__ == "__main__":
    main()
