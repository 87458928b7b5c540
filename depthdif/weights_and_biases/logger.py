"""The W&B logger of a run: online when the machine is logged in, else offline; never prompts."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from depthdif.files import near, read_csv
from depthdif.garbage import collection_paused
from depthdif.loggers.metrics_file import METRICS
from depthdif.loggers.metrics_file import STEP as CSV_STEP
from depthdif.scores.score_names import SCORES, parse_log_key
from depthdif.terminal import in_one_line
from depthdif.weights_and_biases import IMAGES, STEP
from depthdif.weights_and_biases.attempts import OFFLINE, Logged, has_images, logged_by, run_id
from depthdif.weights_and_biases.checkpoints import CheckpointUpload
from depthdif.weights_and_biases.job_name import job_label
from depthdif.weights_and_biases.login import has_api_key

if TYPE_CHECKING:
    from wandb import Run

log = logging.getLogger(__name__)

ONLINE_TIMEOUT_SECONDS = 20


class RunLogger(WandbLogger):
    """Logs each row of a run once, however many attempts it takes, and keeps the best value of each score in the summary.

    The summary has the best and the last value of each validation score (`KEY.min`, `KEY.last`). Each key is defined by its own
    name just before its first value, because the averages are not known when the run is opened, and because W&B 0.31 uses an
    arbitrary one of several globs that match a key, such as `val/*` and `*`.

    Args:
        logged: what earlier attempts have logged. A run logs the same rows in every attempt: these are left out.
        checkpoints: which are uploaded when the run has ended.
        arguments: of `WandbLogger`.
    """

    def __init__(self, logged: Logged, checkpoints: CheckpointUpload, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.checkpoints = checkpoints
        self.defined: set[str] = set()
        self.earlier = logged
        self.seen = Logged()

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
        if step is not None and self.was_logged({**metrics, STEP: step}):
            return
        for key in metrics.keys() - self.defined:
            self.defined.add(key)
            if best := best_value(key):
                # A dot that is not escaped, as in val_ema_0.99/..., means a nested value.
                name = key.replace(".", r"\.")
                self.experiment.define_metric(name, summary=f"{best},last", step_metric=STEP, step_sync=True)
        super().log_metrics(metrics, step)

    def was_logged(self, row: Mapping[str, Any]) -> bool:
        """Whether an earlier attempt has logged a row; to be asked once for each row, in their order."""
        self.seen, earlier = self.seen.after(row), self.earlier
        if has_images(row):
            return self.seen.image_step <= earlier.image_step
        return (self.seen.step, self.seen.rows) <= (earlier.step, earlier.rows)

    def catch_up(self, folder: Path) -> None:
        """Log the rows of metrics.csv and the panels in the folder of the run that earlier attempts had not written to W&B."""
        from wandb import Image

        step = -1
        for row in read_csv(folder / METRICS):
            step = int(row.pop(CSV_STEP))
            self.log_metrics({key: float(value) for key, value in row.items() if value}, step)
        panels: dict[int, dict[str, Any]] = defaultdict(dict)
        for path in sorted((folder / "panels").rglob("*_step=*.png")):
            name, _, steps = path.stem.rpartition("_step=")
            # Those of a further variable are in a folder of its name.
            variable = "" if path.parent.name == "panels" else f"/{path.parent.name}"
            panels[int(steps) - 1][f"{IMAGES}{name}{variable}"] = [Image(str(path))]
        for panel_step, pictures in sorted(panels.items()):
            if panel_step <= step:
                self.log_metrics(pictures, panel_step)


def best_value(key: str) -> str | None:
    """Which value of a log key is its best: "min" or "max" for a validation score or loss, None for any other key."""
    # The key of one variable of several ends with its name.
    if (parsed := parse_log_key(key) or parse_log_key(key.rpartition("/")[0])) is None:
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
    folder = Path(save_dir)
    logged = logged_by(folder / "wandb")
    run = open_run(folder, project, name, group)
    if run.settings.mode == "online":
        # What the server has got counts, which may be more than the files have, or less.
        step = int(run.summary.get(STEP, -1))
        logged = Logged(step, sys.maxsize, step)
    logger = RunLogger(logged, checkpoints, experiment=run, save_dir=str(save_dir), log_model=False)
    logger.catch_up(folder)
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
        # The process of W&B, which further runs share, has a working directory of its own.
        dir=save_dir.absolute(),
        project=project,
        name=name or job_name,
        group=group or sweep,
        id=run_id(save_dir / "wandb"),
        resume="allow",
        settings=wandb.Settings(
            silent=True,
            init_timeout=ONLINE_TIMEOUT_SECONDS,
            # A killed process loses what was not written; 15 s by default.
            x_transaction_log_flush_interval=1.0,
        ),
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
    """The command that uploads the attempts of an offline run as one run; None when there is nothing to upload.

    `wandb sync` uploads the attempts in the order of time, each after the rows of those before, because they resume one id.
    """
    settings = logger.experiment.settings
    if settings.mode not in ("offline", "dryrun"):
        return None
    attempt = Path(settings.sync_dir)
    several = len(list(attempt.parent.glob(OFFLINE))) > 1
    return (
        f"wandb sync {shlex.quote(near(attempt.parent))}/{OFFLINE}"
        if several
        else f"wandb sync {shlex.quote(near(attempt))}"
    )
