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
from depthdif.scores.score_names import SCORES, STANDARD, scores_by_variant
from depthdif.sweep.callback import SweepCallback, is_repeatable
from depthdif.sweep.metrics import METRICS, read_rows
from depthdif.sweep.plugins import prefer_our_configs
from depthdif.sweep.record import FAILED, FINISHED, RECORD, RUNNING, JobRecord, read_record
from depthdif.terminal import in_one_line, minimum_width, print_lines, print_table
from depthdif.weights_and_biases.job_name import MULTIRUN
from depthdif.weights_and_biases.sync import sweep_sync_command

MONITORED = f"val/{SCORES['mse'].key}"
"""What sweepers minimise, and what the best job is chosen by."""

# What a shell gives for a command that Ctrl-C has stopped.
STOPPED = 130

# Columns that a narrow terminal goes without, the first first; sweep.csv has them all.
OPTIONAL = ("SSIM", "PSNR", "time", "MSE\nEMA")


@dataclass(frozen=True)
class Job:
    """A job of a sweep: its folder, its record, and the scores of its last validation by their log keys."""

    folder: Path
    record: JobRecord
    scores: Mapping[str, float]
    steps: int

    @property
    def is_finished(self) -> bool:
        return self.record.status == FINISHED

    @property
    def mse(self) -> dict[str, float]:
        """MSE of the reconstructions by variant."""
        variants = scores_by_variant(self.scores)
        return {variant: scores["mse"] for variant, scores in variants.items() if "mse" in scores}

    @property
    def best_average(self) -> str:
        """The average with the lowest finite MSE; "" without one."""
        averages = {v: mse for v, mse in self.mse.items() if v != STANDARD and math.isfinite(mse)}
        return min(averages, key=averages.__getitem__, default="")


@contextmanager
def sweeps() -> Iterator[None]:
    """Around a script that can sweep: however a sweep ends, its table is shown, and the exit code is 1 unless all is finished."""
    prefer_our_configs()
    try:
        yield
    except KeyboardInterrupt:
        # Launchers with processes of their own have ended them by now.
        print("stopped by Ctrl-C", file=sys.stderr)
        sys.exit(STOPPED)
    except RuntimeError as error:
        # That of a job never gets here: this is a process of joblib or submitit that was killed.
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
    write_sweep_csv(folder / "sweep.csv", jobs)
    console = Console()
    print_table(console, job_table(jobs, console.width))
    for job in jobs:
        if job.record.status == FAILED:
            print_lines(console, f"job {job.record.number} failed: {job.record.reason}")
    steps = next_steps(folder, jobs)
    width = max(map(len, steps)) + 2
    print_lines(console, *(f"{name + ':':{width}}{step}" for name, step in steps.items()))
    return all(job.is_finished for job in jobs)


def read_jobs(folder: Path) -> list[Job]:
    """The jobs of a sweep that have started, by their numbers."""
    jobs = []
    for path in folder.rglob(RECORD):
        record = read_record(path.parent)
        assert record is not None
        jobs.append(Job(path.parent, record, *last_scores(path.parent / METRICS)))
    return sorted(jobs, key=lambda job: job.record.number)


def last_scores(path: Path) -> tuple[dict[str, float], int]:
    """Scores of the last validation in a metrics.csv by their log keys, and the optimizer steps made until then."""
    rows = [row for row in read_rows(path) if row.get(MONITORED)]
    if not rows:
        return {}, 0
    keys = tuple(score.key for score in SCORES.values())
    scores = {key: float(value) for key, value in rows[-1].items() if value and key and key.endswith(keys)}
    # Lightning numbers steps from 0 in what it logs.
    return scores, int(rows[-1]["step"]) + 1


def best_job(jobs: Sequence[Job]) -> Job | None:
    """The finished job with the lowest val/recon_mse_full_recon, which sweepers minimise."""
    finished = [job for job in jobs if job.is_finished and job.record.score is not None]
    return min(finished, key=lambda job: job.record.score or 0.0, default=None)


def job_table(jobs: Sequence[Job], width: int) -> Table:
    """A row for each job; `*` marks the one with the lowest val/recon_mse_full_recon.

    As many of the `OPTIONAL` columns are left out as it takes for the words of the table to fit into `width`.
    """
    columns = job_columns(jobs)
    table = _table(columns)
    for heading in OPTIONAL:
        if minimum_width(table) <= width:
            break
        columns.pop(heading, None)
        table = _table(columns)
    return table


def _table(columns: Mapping[str, Sequence[str]]) -> Table:
    table = Table(
        title="Jobs of the sweep, at their last validation",
        caption=f"* lowest {MONITORED}; PSNR and SSIM of the weights that validation uses",
        box=box.SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
    )
    for heading in columns:
        is_text = heading in ("varied", "status")
        table.add_column(heading, justify="left" if is_text else "right", no_wrap=heading != "varied")
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    return table


def job_columns(jobs: Sequence[Job]) -> dict[str, list[str]]:
    """The cells of the table by the headings of its columns."""
    best, mse = best_job(jobs), SCORES["mse"]
    columns = {
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
    return columns


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, as 1:02:03."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}" if whole else "-"


def next_steps(folder: Path, jobs: Sequence[Job]) -> dict[str, str]:
    """Paths and the next commands by their labels."""
    place = near(folder)
    steps = {
        "table": f"{place}/sweep.csv",
        "compare": f"python scripts/compare.py runs=[{shlex.quote(place)}]",
    }
    best = best_job(jobs)
    if best is not None and (best.folder / "checkpoints" / "last.ckpt").is_file():
        checkpoint = shlex.quote(near(best.folder / "checkpoints" / "last.ckpt"))
        steps["train on"] = f"python scripts/train.py resume={checkpoint} trainer.max_steps={2 * best.steps}"
    if upload := sweep_sync_command(folder):
        steps["upload to W&B"] = upload
    config = OmegaConf.load(folder / MULTIRUN)
    assert isinstance(config, DictConfig)
    if is_repeatable(config) and any(not job.is_finished for job in jobs):
        steps["again"] = f"{command_again(folder)}  (keeps the finished jobs, goes on with the others)"
    return steps


def command_again(folder: Path) -> str:
    """The command that starts this sweep again in its folder."""
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("hydra.sweep.dir=")]
    return shlex.join(["python", near(Path(sys.argv[0])), *arguments, f"hydra.sweep.dir={near(folder)}"])


def write_sweep_csv(path: Path, jobs: Sequence[Job]) -> None:
    """A row for each job with every score that it logged."""
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
    write_csv(path, rows)
