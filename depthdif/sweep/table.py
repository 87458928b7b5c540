"""The report at the end of a sweep, however it ends: a table of its jobs, the same as sweep.csv, and the next commands."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich import box
from rich.console import Console
from rich.table import Table

from depthdif.files import near, write_csv
from depthdif.loggers.metrics_file import METRICS, STEP, last_row_with
from depthdif.scores.score_names import MONITORED, SCORES, STANDARD, scores_by_variant
from depthdif.sweep.callback import SweepCallback, is_repeatable
from depthdif.sweep.job import FAILED, FINISHED, RECORD, RUNNING, JobRecord, read_record
from depthdif.sweep.plugins import prefer_our_configs
from depthdif.terminal import command, in_one_line, minimum_width, print_lines, print_table
from depthdif.weights_and_biases.job_name import MULTIRUN

# Exit code of a command that was stopped by Ctrl-C.
STOPPED = 130

# Columns that a narrow terminal leaves out, in this order; sweep.csv has them all.
OPTIONAL = ("SSIM", "PSNR", "time", "MSE\nEMA")
OFFLINE_RUNS = "wandb/offline-run-*"


@dataclass(frozen=True)
class Job:
    """A job of a sweep.

    Attributes:
        record: its state and result.
        scores: of its last validation, by log key.
        mse: of the reconstructions at that validation, by variant.
        steps: optimizer steps made until then.
    """

    folder: Path
    record: JobRecord
    scores: Mapping[str, float]
    mse: Mapping[str, float]
    steps: int

    @property
    def best_average(self) -> str:
        """The average with the lowest finite MSE; "" without one."""
        averages = {v: mse for v, mse in self.mse.items() if v != STANDARD and math.isfinite(mse)}
        return min(averages, key=averages.__getitem__, default="")


@contextmanager
def sweeps() -> Iterator[None]:
    """Around a script that can sweep: print the table of a sweep however it ends; exit with 1 unless all jobs are finished."""
    prefer_our_configs()
    try:
        yield
    except KeyboardInterrupt:
        # Launchers with processes of their own have ended them by now.
        print("stopped by Ctrl-C", file=sys.stderr)
        sys.exit(STOPPED)
    except RuntimeError as error:
        # Errors of jobs are recorded; this one is of a killed process of joblib or submitit.
        if type(error).__module__.partition(".")[0] not in ("joblib", "submitit"):
            raise
        print(f"error: a process of the sweep was killed ({in_one_line(error)})", file=sys.stderr)
        sys.exit(1)
    finally:
        finished = [report(folder) for folder in SweepCallback.started_sweeps]
    if not all(finished):
        sys.exit(1)


def report(folder: Path) -> bool:
    """Print the table of the sweep in `folder`, write it as sweep.csv; whether all jobs are finished."""
    jobs = read_jobs(folder)
    if not jobs:
        return True
    keys = sorted({key for job in jobs for key in job.scores})
    rows = [
        {
            "job": job.record.number,
            "varied": job.record.label,
            "status": job.record.status,
            "reason": job.record.reason,
            "seconds": f"{job.record.seconds:.1f}",
            "steps": job.steps,
            **{key: job.scores.get(key, "") for key in keys},
            "overrides": " ".join(job.record.overrides),
            "folder": near(job.folder),
        }
        for job in jobs
    ]
    write_csv(folder / "sweep.csv", rows)
    console = Console()
    print_table(console, job_table(jobs, console.width))
    for job in jobs:
        if job.record.status == FAILED:
            print_lines(console, f"job {job.record.number} failed: {job.record.reason}")
    steps = next_steps(folder, jobs)
    width = max(map(len, steps)) + 2
    print_lines(console, *(f"{name + ':':{width}}{step}" for name, step in steps.items()))
    return all(job.record.status == FINISHED for job in jobs)


def read_jobs(folder: Path) -> list[Job]:
    """The jobs of a sweep that have started, by their numbers."""
    keys = tuple(score.key for score in SCORES.values())
    jobs = []
    for path in folder.rglob(RECORD):
        record = read_record(path.parent)
        assert record is not None
        row = last_row_with(path.parent / METRICS, MONITORED)
        scores = {key: value for key, value in row.items() if key.endswith(keys)}
        mse = {variant: own["mse"] for variant, own in scores_by_variant(scores).items() if "mse" in own}
        # Steps count from 0 in the file.
        jobs.append(Job(path.parent, record, scores, mse, int(row.get(STEP, -1)) + 1))
    return sorted(jobs, key=lambda job: job.record.number)


def best_job(jobs: Sequence[Job]) -> Job | None:
    """The finished job with the lowest val/recon_mse_full_recon, which sweepers minimise."""
    finished = [job for job in jobs if job.record.status == FINISHED and job.record.score is not None]
    return min(finished, key=lambda job: job.record.score or 0.0, default=None)


def job_table(jobs: Sequence[Job], width: int) -> Table:
    """A row for each job; `*` marks the one with the lowest val/recon_mse_full_recon.

    `OPTIONAL` columns are left out until the words of the table fit into `width`.
    """
    best, mse = best_job(jobs), SCORES["mse"]
    columns: dict[str, list[str]] = {
        "job": [f"{job.record.number}{'*' if job is best else ' '}" for job in jobs],
        "varied": [job.record.label for job in jobs],
        "MSE\nstandard": [mse.format(job.mse.get(STANDARD)) for job in jobs],
        "MSE\nEMA": [mse.format(job.mse.get("ema")) for job in jobs],
    }
    if any(len(job.mse) > 2 for job in jobs):
        columns["best\naverage"] = [job.best_average.removeprefix("ema_") or "-" for job in jobs]
        columns["MSE\nbest"] = [mse.format(job.mse.get(job.best_average)) for job in jobs]
    for score in (SCORES["psnr"], SCORES["ssim"]):
        columns[score.label] = [score.format(job.scores.get(f"val/{score.key}")) for job in jobs]
    columns["time"] = [duration(job.record.seconds) for job in jobs]
    columns["status"] = ["unfinished" if job.record.status == RUNNING else job.record.status for job in jobs]
    for heading in ["", *OPTIONAL]:
        columns.pop(heading, None)
        table = Table(
            title="Jobs of the sweep, at their last validation",
            caption=f"* lowest {MONITORED}; PSNR and SSIM of the weights that validation uses",
            box=box.SIMPLE_HEAD,
            padding=(0, 0, 0, 1),
        )
        for name in columns:
            is_text = name in ("varied", "status")
            table.add_column(name, justify="left" if is_text else "right", no_wrap=name != "varied")
        for row in zip(*columns.values(), strict=True):
            table.add_row(*row)
        if minimum_width(table) <= width:
            break
    return table


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, as 1:02:03; "-" for less than half a second."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}" if whole else "-"


def next_steps(folder: Path, jobs: Sequence[Job]) -> dict[str, str]:
    """Paths and the next commands by their labels."""
    place = near(folder)
    steps = {"table": f"{place}/sweep.csv", "compare": f"{command('compare')} runs=[{shlex.quote(place)}]"}
    best = best_job(jobs)
    if best is not None and (checkpoint := best.folder / "checkpoints" / "last.ckpt").is_file():
        resume = f"resume={shlex.quote(near(checkpoint))} trainer.max_steps={2 * best.steps}"
        steps["train on"] = f"{command('train')} {resume}"
    if upload := sync_command(folder):
        steps["upload to W&B"] = upload
    config = OmegaConf.load(folder / MULTIRUN)
    assert isinstance(config, DictConfig)
    if is_repeatable(config) and any(job.record.status != FINISHED for job in jobs):
        arguments = [argument for argument in sys.argv[1:] if not argument.startswith("hydra.sweep.dir=")]
        again = f"{command('train')} {shlex.join([*arguments, f'hydra.sweep.dir={place}'])}"
        steps["again"] = f"{again}  (keeps the finished jobs, continues the others)"
    return steps


def sync_command(folder: Path) -> str | None:
    """The command that uploads every offline W&B run of a sweep; None where there is no such run.

    The shell expands the runs: FOLDER/*/wandb/offline-run-*, with one star for each level of the job folders. `wandb sync`
    skips runs that are uploaded already, so that the command may be repeated.
    """
    jobs = [run.relative_to(folder).parts[:-2] for run in folder.rglob(OFFLINE_RUNS) if run.is_dir()]
    stars = sorted({"*/" * len(job) for job in jobs})
    patterns = [f"{shlex.quote(near(folder))}/{job}{OFFLINE_RUNS}" for job in stars]
    return " ".join(["wandb sync", *patterns]) if patterns else None
