"""Kills a small run again and again at random moments, and compares what it leaves with the uninterrupted run, bit for bit.

python benchmarks/kill_and_resume.py --kills 30
python benchmarks/kill_and_resume.py --kills 5 --launcher submitit_local
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib
import itertools
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGKILL, SIGUSR2
from typing import Any

# One thread, so that sums are always taken in the same order.
os.environ |= {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}

import torch
from safetensors.torch import load_file

import depthdif.command_line
from depthdif.checkpoints.trusted_targets import shipped_targets
from depthdif.weights_and_biases import IMAGES, STEP
from depthdif.weights_and_biases.attempts import attempts, rows_of

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "train.py"
RUN = [
    "experiment=smoke",
    "model/ema=power",
    "model.denoiser.dropout=0.1",
    "trainer.val_check_interval=10",
    "trainer.log_every_n_steps=1",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
    "data.validation_patches=4",
    "callbacks.reconstruction.panel_samples=1",
    "callbacks.reconstruction.panel_depths=[0]",
    "callbacks.ema_snapshots.every_n_steps=2",
    "callbacks.ema_snapshots.keep=8",
    "callbacks.progress=null",
]
POLL_SECONDS = 0.01
# Columns and keys that differ between any two runs.
MEASURED = ("train/samples_per_second", "train/data_wait_share", "train/memory_gb")


def main() -> None:
    """Parse the command line, run, print the table, and exit with 1 where anything differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument(
        "--launcher", choices=["submitit_local"], help="kill jobs of a sweep instead of a run"
    )
    parser.add_argument("--steps", type=int, default=80, help="of the run")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="kill_and_resume_"))
    folder.mkdir(parents=True, exist_ok=True)
    whole, sweep = folder / "whole", folder / "sweep"
    cut = sweep / "0" if options.launcher else folder / "cut"
    RUN.append(f"trainer.max_steps={options.steps}")
    moments = planned_moments(options.kills, options.steps, random.Random(options.seed))
    import_all()
    if code := end_of(start_run(whole)):
        sys.exit(f"the uninterrupted run failed with {code}; see {folder}/whole.log")
    killed = cut_sweep(sweep, moments) if options.launcher else cut_run(cut, moments)
    print(f"killed {len(killed)} times, in {folder}:", *killed, sep="\n  ")
    results = compare(whole, cut)
    width = max(map(len, results))
    for name, (is_equal, detail) in results.items():
        print(f"{name:{width}}  {'yes' if is_equal else 'NO':3}  {detail}")
    sys.exit(0 if len(killed) == options.kills and all(equal for equal, _ in results.values()) else 1)


def planned_moments(kills: int, last: int, numbers: random.Random) -> list[tuple[int, float]]:
    """When to kill each attempt: so many seconds after the row of a step (-1: after the start of the process)."""
    # Early enough for the kill to come before the end.
    steps = sorted(numbers.randrange(last - 5) for _ in range(kills))
    return [
        (-1, numbers.uniform(0, 3)) if numbers.random() < 0.2 else (step, numbers.uniform(0, 0.2))
        for step in steps
    ]


def import_all() -> None:
    """Import what a run needs, once for all attempts."""
    targets = (target for target in shipped_targets() if target.startswith(("depthdif.", "diffusers.")))
    for module in (
        "depthdif.training",
        "wandb.sdk.launch",
        *(target.rpartition(".")[0] for target in targets),
    ):
        # The name of a class method has one part more.
        with contextlib.suppress(ImportError):
            importlib.import_module(module)


def start_run(folder: Path) -> int:
    """Start a training as a copy of this process, which has imported everything already, and return its number."""
    process = os.fork()
    if process:
        return process
    output = os.open(f"{folder}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.argv = [str(SCRIPT), *RUN, f"hydra.run.dir={folder}"]
    code: Any = 1
    try:
        depthdif.command_line.train()
        code = 0
    except SystemExit as ended:
        code = ended.code
    except Exception:
        traceback.print_exc()
        raise
    finally:
        sys.stdout.flush()
        os._exit(code if isinstance(code, int) else 1)


def has_ended(process: int) -> bool:
    """Whether a process has ended; it can still be waited for."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def end_of(process: int) -> int:
    """Wait for a process; its exit code, negative for the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def cut_run(folder: Path, moments: list[tuple[int, float]]) -> list[str]:
    """Run in `folder` with kill -9 at each moment, and once more to the end; what was killed."""
    killed = []
    for step, seconds in moments:
        process = start_run(folder)
        wait_for(folder, step, seconds, lambda process=process: has_ended(process))
        os.kill(process, SIGKILL)
        if end_of(process) == -SIGKILL:
            killed.append(f"kill -9 {place(folder, step, seconds)}")
    if code := end_of(start_run(folder)):
        sys.exit(f"the last attempt failed with {code}; see {folder}.log")
    return killed


def cut_sweep(folder: Path, moments: list[tuple[int, float]]) -> list[str]:
    """A sweep of one job with submitit; its process gets submitit's signal of preemption and kill -9 in turns.

    After the signal submitit starts the job again by itself, after kill -9 the same command is started again.
    """
    command = [
        sys.executable,
        str(SCRIPT),
        "-m",
        *RUN,
        "seed=0",
        "hydra/launcher=submitit_local",
        f"hydra.sweep.dir={folder}",
    ]
    killed: dict[int, str] = {}
    with Path(f"{folder}.log").open("a") as log:
        sweep = subprocess.Popen(command, stdout=log, stderr=log)
        for (step, seconds), number in zip(moments, itertools.cycle([SIGUSR2, SIGKILL]), strict=False):
            while not (jobs := jobs_of(folder) - killed.keys()):
                if sweep.poll() == 0:
                    return list(killed.values())
                # Also where the signal came before submitit was there to handle it.
                if sweep.poll() is not None:
                    sweep = subprocess.Popen(command, stdout=log, stderr=log)
                time.sleep(POLL_SECONDS)
            job = jobs.pop()
            wait_for(folder / "0", step, seconds, lambda job=job: job not in jobs_of(folder))
            with contextlib.suppress(ProcessLookupError):
                os.kill(job, number)
                killed[job] = f"{number.name} {place(folder / '0', step, seconds)}"
        sweep.wait()
        if code := subprocess.run(command, stdout=log, stderr=log, check=False).returncode:
            sys.exit(f"the last sweep failed with {code}; see {folder}.log")
    return list(killed.values())


def jobs_of(folder: Path) -> set[int]:
    """The processes in which submitit trains jobs of a sweep."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode().split("\0")
        except OSError:  # it has ended
            continue
        if "submitit.core._submit" in words and any(word.startswith(f"{folder}/") for word in words):
            found.add(int(path.parent.name))
    return found


def wait_for(folder: Path, step: int, seconds: float, is_over: Callable[[], bool]) -> None:
    """Wait until metrics.csv has the row of a step, and then some seconds, or until the process is over."""
    while last_step(folder) < step and not is_over():
        time.sleep(POLL_SECONDS)
    time.sleep(seconds)


def last_step(folder: Path) -> int:
    """The step of the last row of metrics.csv; -1 without one."""
    rows = metrics(folder)
    return int(rows[-1]["step"] or -1) if rows else -1


def metrics(folder: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv, without what is measured."""
    path = folder / "metrics" / "metrics.csv"
    rows = list(csv.DictReader(path.open(newline=""))) if path.is_file() else []
    return [{key: value for key, value in row.items() if key not in MEASURED} for row in rows]


def place(folder: Path, step: int, seconds: float) -> str:
    """Where a run was killed, in words."""
    moment = "the start" if step < 0 else f"the row of step {step}"
    return f"{seconds:.2f} s after {moment}, at step {last_step(folder)}"


def compare(whole: Path, cut: Path) -> dict[str, tuple[bool, str]]:
    """What the two folders have in common: for each part whether it is equal, and how much it is."""
    states = ("state_dict", "optimizer_states", "lr_schedulers", "callbacks", "loops", "global_step")
    first, second = (
        {key: dict(leaves(saved[key])) for key in states} for saved in map(last_checkpoint, (whole, cut))
    )
    ids = {attempt.name.rpartition("-")[2] for attempt in attempts(cut / "wandb")}
    rows, histories = metrics(cut), [history(folder / "wandb") for folder in (whole, cut)]
    files = {
        name: [contents(folder / name) for folder in (whole, cut)] for name in ("panels", "ema_snapshots")
    }
    names = [sorted(path.name for path in (folder / "checkpoints").iterdir()) for folder in (whole, cut)]
    return {
        **{
            f"checkpoint: {key}": (equal(first[key], second[key]), f"{len(first[key])} values")
            for key in states
        },
        "metrics.csv": (rows == metrics(whole), f"{len(rows)} rows"),
        "panels": (equal(*files["panels"]), f"{len(files['panels'][0])} files"),
        "EMA snapshots": (equal(*files["ema_snapshots"]), f"{len(files['ema_snapshots'][0])} files"),
        "checkpoints of the same names": (names[0] == names[1], " ".join(names[1])),
        "one W&B run": (len(ids) == 1, f"{len(attempts(cut / 'wandb'))} attempts"),
        "rows of W&B": (histories[0] == histories[1], f"{len(histories[1])} rows"),
    }


def last_checkpoint(folder: Path) -> Any:
    """The content of last.ckpt, without the paths of its best checkpoints, which are within the folder."""
    saved = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    for state in saved["callbacks"].values():
        # Of ModelCheckpoint: Lightning does not restore it, and does not use it.
        state.pop("current_score", None)
    return without(str(folder.resolve()), saved)


def without(text: str, tree: Any) -> Any:
    """Nested mappings and sequences whose keys and strings lack `text`."""
    if isinstance(tree, dict):
        return {without(text, key): without(text, value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [without(text, value) for value in tree]
    return tree.replace(text, "") if isinstance(tree, str) else tree


def leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The values in nested mappings and sequences by their path."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, f"{name}/{key}")
    elif isinstance(tree, list | tuple):
        for number, value in enumerate(tree):
            yield from leaves(value, f"{name}/{number}")
    else:
        yield name, tree


def equal(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether the keys are the same and the values the same bit for bit."""
    return first.keys() == second.keys() and all(same(value, second[key]) for key, value in first.items())


def same(first: Any, second: Any) -> bool:
    """Whether two values are the same, bit for bit where they are tensors."""
    if torch.is_tensor(first) and torch.is_tensor(second):
        return torch.equal(first, second)
    return type(first) is type(second) and bool(first == second)


def contents(folder: Path) -> dict[str, Any]:
    """The content of each file of a folder; of safetensors each tensor."""
    found: dict[str, Any] = {}
    for path in folder.iterdir():
        if path.suffix == ".safetensors":
            found |= {f"{path.name}/{key}": tensor for key, tensor in load_file(path).items()}
        else:
            found[path.name] = path.read_bytes()
    return found


def history(folder: Path) -> list[tuple[Any, ...]]:
    """The rows of all attempts of a W&B run in the order of steps, without times; of images only the names."""
    rows = []
    for attempt in attempts(folder):
        for row in rows_of(attempt):
            keys = sorted(key for key in row if not key.startswith("_") and key not in MEASURED)
            is_image = any(key.startswith(IMAGES) for key in keys)
            rows.append(
                (
                    row[STEP],
                    is_image,
                    *((key.partition(".")[0] if is_image else (key, row[key])) for key in keys),
                )
            )
    # Rows of one step are of different kinds, and a panel that is caught up on comes later.
    return sorted(rows, key=repr)


if __name__ == "__main__":
    main()
