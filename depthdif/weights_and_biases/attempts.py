"""What earlier attempts at a run have left in W&B: its id, and how far its rows go.

W&B collects rows before it writes them. Those of a killed process may end before or after the checkpoint that the run goes on
from.
"""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from depthdif.files import near, write_text
from depthdif.weights_and_biases import IMAGES, STEP

log = logging.getLogger(__name__)

RECORD = "logged.json"
ONLINE, OFFLINE = "run-*", "offline-run-*"

# Of the head of a file, before its first record.
HEAD_BYTES = 7


@dataclass(frozen=True)
class Logged:
    """How far the rows of a run go.

    Attributes:
        step: last step of a row of scalars; -1 for none.
        rows: rows of scalars of that step.
        image_step: last step of a row of images; -1 for none.
        attempts: folders of W&B that were read for this.
    """

    step: int = -1
    rows: int = 0
    image_step: int = -1
    attempts: list[str] = field(default_factory=list)

    def after(self, row: Mapping[str, Any]) -> Logged:
        """With one more row, whose steps do not fall."""
        step = int(row[STEP])
        if has_images(row):
            return replace(self, image_step=step)
        return replace(self, step=step, rows=self.rows + 1 if step == self.step else 1)


def has_images(row: Mapping[str, Any]) -> bool:
    """Whether a row is one of images; they come on their own."""
    return any(key.startswith(IMAGES) for key in row)


def attempts(folder: Path) -> list[Path]:
    """The folders of the attempts in the `wandb` folder of a run, offline and online, in the order of time."""
    runs = [path for pattern in (ONLINE, OFFLINE) for path in folder.glob(pattern)]
    return sorted(runs, key=lambda path: path.name.removeprefix("offline-"))


def run_id(folder: Path) -> str | None:
    """The id of the run, with which the names of the folders of its attempts end; None before the first one."""
    earlier = attempts(folder)
    return earlier[-1].name.rpartition("-")[2] if earlier else None


def logged_by(folder: Path) -> Logged:
    """How far the rows of all attempts in a `wandb` folder go. Attempts that were read before are not read again.

    An offline attempt that was killed before anything was written is removed: `wandb sync` would stop at it.
    """
    record = folder / RECORD
    logged = Logged(**json.loads(record.read_text(encoding="utf-8"))) if record.is_file() else Logged()
    new = [attempt for attempt in attempts(folder) if attempt.name not in logged.attempts]
    for attempt in new:
        for row in rows_of(attempt):
            logged = logged.after(row)
        if attempt.match(OFFLINE) and holds_nothing(attempt):
            shutil.rmtree(attempt)
        logged = replace(logged, attempts=[*logged.attempts, attempt.name])
    if new:
        write_text(record, json.dumps(asdict(logged), indent=2) + "\n")
    return logged


def holds_nothing(attempt: Path) -> bool:
    """Whether the file of an attempt has its head alone."""
    sizes = [file.stat().st_size for file in attempt.glob("*.wandb")]
    return bool(sizes) and max(sizes) <= HEAD_BYTES


def rows_of(attempt: Path) -> list[dict[str, Any]]:
    """The rows of logged values that an attempt has written to its file, read by the command of W&B."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(attempt)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    records = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if not records and not holds_nothing(attempt):
        log.warning(
            "W&B: %s cannot be read, so that its rows may be logged a second time: %s",
            near(attempt),
            done.stderr,
        )
    return [record["history"]["item"] for record in records if record.get("type") == "history"]
