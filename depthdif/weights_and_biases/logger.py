"""The W&B logger of a run: online when the machine is logged in, else offline; never prompts."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from depthdif.files import near
from depthdif.garbage import collection_paused
from depthdif.scores.score_names import SCORES, parse_log_key
from depthdif.terminal import in_one_line
from depthdif.weights_and_biases import STEP
from depthdif.weights_and_biases.checkpoints import CheckpointUpload
from depthdif.weights_and_biases.job_name import job_label
from depthdif.weights_and_biases.login import has_api_key

if TYPE_CHECKING:
    from wandb import Run

log = logging.getLogger(__name__)

ONLINE_TIMEOUT_SECONDS = 20


class BestValueLogger(WandbLogger):
    """Keeps the best and the last value of each validation score in the summary of the run (`KEY.min`, `KEY.last`).

    Each key is defined by its own name just before its first value, because the averages are not known when the run is
    opened, and because W&B 0.31 uses an arbitrary one of several globs that match a key, such as `val/*` and `*`.

    `checkpoints` chooses what is uploaded when the run has ended; the other arguments are those of Lightning's logger.
    """

    def __init__(self, checkpoints: CheckpointUpload, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.checkpoints = checkpoints
        self.defined: set[str] = set()

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Remember what may be uploaded."""
        self.checkpoints.saved(checkpoint_callback)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Upload checkpoints, unless the training failed."""
        if status == "success":
            self.checkpoints.upload(self.experiment)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log values; new keys are defined first."""
        for key in metrics.keys() - self.defined:
            self.defined.add(key)
            if best := best_value(key):
                # A dot that is not escaped, as in val_ema_0.99/..., means a nested value.
                name = key.replace(".", r"\.")
                self.experiment.define_metric(name, summary=f"{best},last", step_metric=STEP, step_sync=True)
        super().log_metrics(metrics, step)


def best_value(key: str) -> str | None:
    """Which value of a log key is its best: "min" or "max" for a validation score or loss, None for any other key."""
    if (parsed := parse_log_key(key)) is None:
        return None
    return "max" if parsed[1] in SCORES and SCORES[parsed[1]].higher_is_better else "min"


def job_identity() -> tuple[str | None, str | None]:
    """Name of the run and, within a sweep, its group, from the Hydra job; (None, None) outside of one."""
    if not HydraConfig.initialized():
        return None, None
    job = HydraConfig.get()
    if job.mode == RunMode.MULTIRUN:
        sweep = Path(job.sweep.dir)
        return f"{sweep.name}/{job.job.num} {job_label(sweep, job.overrides.task)}", sweep.name
    return Path(job.runtime.output_dir).name, None


def wandb_logger(
    save_dir: str | Path,
    project: str,
    name: str | None = None,
    group: str | None = None,
    upload_checkpoints: str | bool = False,
) -> WandbLogger:
    """Lightning's logger, online or offline as this machine allows; `WANDB_MODE` decides when it is set.

    The run is opened here rather than at the first logged value: a server that does not answer is known before training.

    Args:
        save_dir: folder of the run; W&B writes into its `wandb` folder.
        project: W&B project.
        name: of the run; None takes it from the Hydra job.
        group: of the runs that belong together; None takes the sweep of the Hydra job.
        upload_checkpoints: "best", "last", "all" or False: see `CheckpointUpload`.
    """
    checkpoints = CheckpointUpload(upload_checkpoints)
    if rank_zero_only.rank:  # type: ignore[attr-defined]
        return WandbLogger()
    run = open_run(Path(save_dir), project, name, group)
    logger = BestValueLogger(checkpoints, experiment=run, save_dir=str(save_dir), log_model=False)
    if run.settings.mode == "online":
        log.info("W&B: online, %s", run.url)
    elif run.settings.mode == "disabled":
        log.info("W&B: disabled by WANDB_MODE")
    else:
        log.info("W&B: offline; upload with: %s", sync_command(logger))
    return logger


@collection_paused()
def open_run(save_dir: Path, project: str, name: str | None, group: str | None) -> Run:
    """A W&B run, without its own banner; offline when the machine is not logged in or the server does not answer."""
    import wandb

    job_name, sweep = job_identity()
    mode = os.environ.get("WANDB_MODE") or ("online" if has_api_key(wandb.Settings().base_url) else "offline")
    save_dir.mkdir(parents=True, exist_ok=True)

    open_in = partial(
        wandb.init,
        dir=save_dir,
        project=project,
        name=name or job_name,
        group=group or sweep,
        settings=wandb.Settings(silent=True, init_timeout=ONLINE_TIMEOUT_SECONDS),
    )
    try:
        run = open_in(mode=mode)  # type: ignore[arg-type]
    except (wandb.errors.CommError, wandb.errors.UsageError) as error:
        log.warning("W&B cannot be reached (%s): continuing offline", in_one_line(error))
        run = open_in(mode="offline")
    run.define_metric(STEP)
    run.define_metric("*", step_metric=STEP, step_sync=True)
    return run


def sync_command(logger: WandbLogger) -> str | None:
    """The command that uploads an offline run; None when there is nothing to upload."""
    settings = logger.experiment.settings
    if settings.mode not in ("offline", "dryrun"):
        return None
    return f"wandb sync {shlex.quote(near(settings.sync_dir))}"
