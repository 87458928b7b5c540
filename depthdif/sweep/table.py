"""What a sweep ends with, however it ends: a table of its jobs, the same as sweep.csv, and what to type next."""

from __future__ import annotations

import csv
import math
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from depthdif.files import near
from depthdif.sweep.callback import SweepCallback, is_repeatable
from depthdif.sweep.metrics import METRICS, rows_of
from depthdif.sweep.plugins import prefer_our_configs
from depthdif.sweep.record import FAILED, FINISHED, RECORD, RUNNING, JobRecord, read_record
from depthdif.terminal import in_one_line
from depthdif.weights_and_biases.job_name import MULTIRUN
from depthdif.weights_and_biases.sync import sweep_sync_command

SCORES = tuple(f"recon_{name}_full_recon" for name in ("mse", "psnr", "ssim"))
MSE = SCORES[0]

# What a shell gives for a command that Ctrl-C has stopped.
STOPPED = 130


@dataclass(frozen=True)
class Job:
    """A job of a sweep: its folder, its record, and the scores of its last validation by their logged keys."""

    folder: Path
    record: JobRecord
    scores: Mapping[str, float]
    steps: int

    def score(self, key: str) -> float:
        """A score by its key; NaN where it was not logged."""
        return self.scores.get(key, math.nan)

    def best_average(self) -> tuple[str, float]:
        """The average with the lowest MSE, by its name in the keys, and its MSE."""
        found = {
            key.partition("/")[0].removeprefix("val_"): score
            for key, score in self.scores.items()
            if key.startswith("val_ema") and key.endswith(MSE) and math.isfinite(score)
        }
        return min(found.items(), key=lambda item: item[1], default=("", math.nan))


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
        finished = [report(folder) for folder in SweepCallback.begun]
    if not all(finished):
        sys.exit(1)


def report(folder: Path) -> bool:
    """Print the table of the sweep in `folder`, write it as sweep.csv; whether all jobs are finished."""
    jobs = jobs_of(folder)
    if not jobs:
        return True
    write_csv(folder / "sweep.csv", jobs)
    console = Console()
    console.print(table_of(jobs))
    for job in jobs:
        if job.record.status == FAILED:
            console.print(
                f"job {job.record.number} failed: {job.record.reason}",
                soft_wrap=True,
                markup=False,
                highlight=False,
            )
    for name, place in next_steps(folder, jobs).items():
        console.print(f"{name + ':':10}{place}", soft_wrap=True, markup=False, highlight=False)
    return all(job.record.status == FINISHED for job in jobs)


def jobs_of(folder: Path) -> list[Job]:
    """The jobs of a sweep that were begun, by their numbers."""
    jobs = []
    for path in folder.rglob(RECORD):
        record = read_record(path.parent)
        assert record is not None
        jobs.append(Job(path.parent, record, *last_scores(path.parent / METRICS)))
    return sorted(jobs, key=lambda job: job.record.number)


def last_scores(path: Path) -> tuple[dict[str, float], int]:
    """Scores of the last validation in a metrics.csv by their keys, and the optimizer steps made until then."""
    rows = [row for row in rows_of(path) if row.get(f"val/{MSE}")]
    if not rows:
        return {}, 0
    kept = {key: float(value) for key, value in rows[-1].items() if value and key and key.endswith(SCORES)}
    # Lightning numbers steps from 0 in what it logs.
    return kept, int(rows[-1]["step"]) + 1


def best_of(jobs: Sequence[Job]) -> Job | None:
    """The finished job with the lowest val/recon_mse_full_recon, which sweepers minimise."""
    finished = [job for job in jobs if job.record.status == FINISHED and job.record.score is not None]
    return min(finished, key=lambda job: job.record.score or 0.0, default=None)


def table_of(jobs: Sequence[Job]) -> Table:
    """A row for each job; `*` marks the one with the lowest val/recon_mse_full_recon."""
    best, several = best_of(jobs), any(sum(key.endswith(MSE) for key in job.scores) > 3 for job in jobs)
    caption = f"* lowest val/{MSE}; PSNR and SSIM of the weights that validation uses"
    table = Table(title="Jobs of the sweep, at their last validation", caption=caption)
    table.add_column("job", justify="right")
    table.add_column("varied", overflow="fold")
    for name in ("MSE standard", "MSE EMA", *(["best average"] if several else []), "PSNR", "SSIM", "time"):
        table.add_column(name, justify="right")
    table.add_column("status")
    for job in jobs:
        # Without EMA the keys of the standard weights are those of the validation itself.
        standard = job.score(f"val_standard/{MSE}" if f"val_standard/{MSE}" in job.scores else f"val/{MSE}")
        average, mse = job.best_average()
        table.add_row(
            f"{job.record.number}{'*' if job is best else ' '}",
            job.record.label,
            shown(standard, 4),
            shown(job.score(f"val_ema/{MSE}"), 4),
            *([f"{average.removeprefix('ema_')}: {shown(mse, 4)}" if average else "-"] if several else []),
            shown(job.score(f"val/{SCORES[1]}"), 2),
            shown(job.score(f"val/{SCORES[2]}"), 4),
            duration(job.record.seconds),
            "unfinished" if job.record.status == RUNNING else job.record.status,
        )
    return table


def shown(score: float, decimals: int) -> str:
    """A score, or a dash where there is none."""
    return f"{score:.{decimals}f}" if math.isfinite(score) else "-"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, as 1:02:03."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}" if whole else "-"


def next_steps(folder: Path, jobs: Sequence[Job]) -> dict[str, str]:
    """Where everything lies, and what to type next."""
    place = near(folder)
    steps = {
        "table": f"{place}/sweep.csv",
        "compare": f"python scripts/compare.py runs=[{shlex.quote(place)}]",
    }
    best = best_of(jobs)
    if best is not None and (best.folder / "checkpoints" / "last.ckpt").is_file():
        checkpoint = shlex.quote(near(best.folder / "checkpoints" / "last.ckpt"))
        steps["train on"] = f"python scripts/train.py resume={checkpoint} trainer.max_steps={2 * best.steps}"
    if upload := sweep_sync_command(folder):
        steps["upload to W&B"] = upload
    begun_with = OmegaConf.load(folder / MULTIRUN)
    assert isinstance(begun_with, DictConfig)
    if is_repeatable(begun_with) and any(job.record.status != FINISHED for job in jobs):
        steps["again"] = f"{command_again(folder)}  (keeps the finished jobs, goes on with the others)"
    return steps


def command_again(folder: Path) -> str:
    """The command that starts this sweep again in its folder."""
    typed = [argument for argument in sys.argv[1:] if not argument.startswith("hydra.sweep.dir=")]
    return shlex.join(["python", near(Path(sys.argv[0])), *typed, f"hydra.sweep.dir={near(folder)}"])


def write_csv(path: Path, jobs: Sequence[Job]) -> None:
    """A line for each job with every score that it logged."""
    keys = sorted({key for job in jobs for key in job.scores})
    unfinished = path.with_suffix(".unfinished.csv")
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["job", "varied", "status", "reason", "seconds", "steps", *keys, "overrides", "folder"]
        )
        for job in jobs:
            record = job.record
            scores = [job.scores.get(key, "") for key in keys]
            writer.writerow([record.number, record.label, record.status, record.reason, f"{record.seconds:.1f}", job.steps,
                             *scores, " ".join(record.overrides), near(job.folder)])  # fmt: skip
    unfinished.replace(path)
