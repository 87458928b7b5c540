"""The processes of a run on several devices: they start as one job, share the cores, and end together."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import read_write
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities.exceptions import SIGTERMException

# How long the first process has to report an error that all of them have, and to end the others, before they report it too.
SECONDS_TO_REPORT = 10
# How long the others have to end after the first process, which left the last batch at the same time as they.
SECONDS_TO_END = 60


class Processes(Callback):
    """Starts the processes of a run as one job, and ends them all when one fails.

    Lightning starts those of one machine with the command line of the first. With a single process nothing changes.
    """

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save no checkpoint when one process fails: it would wait for the others, which do not save."""
        if trainer.world_size > 1 and not isinstance(exception, SIGTERMException):
            for callback in trainer.checkpoint_callbacks:
                if isinstance(callback, ModelCheckpoint):
                    callback.save_on_exception = False

    @contextmanager
    def started(self, trainer: Trainer) -> Iterator[None]:
        """Around a fit, which starts the other processes; afterwards a further job can start its own."""
        before, threads = set(os.environ), torch.get_num_threads()
        if trainer.num_devices > 1 and "OMP_NUM_THREADS" not in before:
            # Lightning would give all cores to the processes, and none to the workers of the loaders.
            torch.set_num_threads(threads_of_each(trainer))
            os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())
        try:
            with arguments_of_this_job():
                yield
        except Exception:
            if trainer.global_rank:
                time.sleep(SECONDS_TO_REPORT)
            for process in others(trainer):
                process.kill()
            raise
        finally:
            if processes := others(trainer):
                for process in processes:
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(SECONDS_TO_END)
                    process.kill()
                # Lightning watches this list, and ends this process too when one in it was killed.
                processes.clear()
                torch.distributed.destroy_process_group()
                torch.set_num_threads(threads)
                for name in os.environ.keys() - before:
                    del os.environ[name]


def others(trainer: Trainer) -> list[subprocess.Popen[bytes]]:
    """The processes that this one has started."""
    processes: list[subprocess.Popen[bytes]] = getattr(trainer.strategy.launcher, "procs", [])
    return processes


def threads_of_each(trainer: Trainer) -> int:
    """Threads of PyTorch for each process on this machine; SLURM gives each process cores of its own."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    has_own_cores = environment is not None and environment.creates_processes_externally
    return max(1, torch.get_num_threads() // (1 if has_own_cores else trainer.num_devices))


@contextmanager
def arguments_of_this_job() -> Iterator[None]:
    """Within a multirun, make command line and run folder those of the job: the others would start the whole multirun."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        yield
        return
    job, arguments = HydraConfig.get(), sys.argv
    with read_write(job):  # type: ignore[arg-type]
        job.run.dir = job.runtime.output_dir
    sys.argv = [arguments[0], *job.overrides.task]
    try:
        yield
    finally:
        sys.argv = arguments
