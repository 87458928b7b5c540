"""The record that scripts/evaluate.py wrote of a checkpoint, for its model card; identified by the hash of the checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from depthdif import UserError
from depthdif.evaluation.table import COLUMNS, cell
from depthdif.scores.score import Score, Scores
from depthdif.scores.score_names import variant_label
from depthdif.terminal import command

FILE = "evaluation.json"
# Keys of the provenance by which records are identified and chosen.
REQUIRED = {"checkpoint_sha256", "patches", "created", "seen_in_training"}


def evaluation_record(checkpoint: Path, digest: str, path: str | None = None) -> dict[str, Any] | None:
    """The content of the `evaluation.json` of a checkpoint: of several the one with most patches, then the newest.

    The folder of the run and the folders beside it are searched, where scripts/evaluate.py writes; an evaluation in a region
    that the model was trained on is left out. None where there is no record.

    Args:
        checkpoint: RUN_FOLDER/checkpoints/NAME.
        digest: its SHA-256.
        path: the file to take instead, or its folder.

    Raises:
        FileNotFoundError: there is no file at `path`.
        UserError: the file at `path` is not a record of this checkpoint.
    """
    if path is not None:
        file = Path(path) / FILE if Path(path).is_dir() else Path(path)
        if not file.is_file():
            raise FileNotFoundError(f"evaluation={path}: no such file; set evaluation=runs/DATE_TIME/{FILE}")
        record = read(file, digest)
        if record is None:
            advice = f"run {command('evaluate')} checkpoint={checkpoint}"
            raise UserError(f"evaluation={path}: is not of this checkpoint; {advice}")
        return record
    run = checkpoint.parent.parent
    records = (read(file, digest) for file in (*run.glob(f"**/{FILE}"), *run.parent.glob(f"*/{FILE}")))
    usable = {
        (record["provenance"]["patches"], record["provenance"]["created"]): record
        for record in records
        if record is not None and not record["provenance"]["seen_in_training"]
    }
    return usable[max(usable)] if usable else None


def read(path: Path, digest: str) -> dict[str, Any] | None:
    """The content of the `evaluation.json` of a checkpoint; None for any other file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError):
        return None
    provenance = content.get("provenance", {}) if isinstance(content, dict) else {}
    of_checkpoint = provenance.keys() >= REQUIRED and provenance["checkpoint_sha256"] == digest
    return content if of_checkpoint else None


def scores_by_method(record: Mapping[str, Any]) -> dict[str, Scores]:
    """Scores over all depths by the label of the method."""
    return {
        method: {name: Score(**score) for name, score in scores.items()}
        for method, scores in record["overall"].items()
    }


def variant_scores(record: Mapping[str, Any], variant: str) -> Scores:
    """Scores of the largest ensemble of a variant, which is its last row; empty where there is no such row."""
    label = f"{variant_label(variant)}, "
    rows = [scores for method, scores in scores_by_method(record).items() if method.startswith(label)]
    return rows[-1] if rows else {}


def evaluation_table(record: Mapping[str, Any]) -> tuple[list[str], dict[str, list[str]]]:
    """Headings of the defined scores, and their values with intervals by method."""
    methods = scores_by_method(record)
    columns = [column for column in COLUMNS if any(column[0] in scores for scores in methods.values())]
    return [heading for _, heading, _ in columns], {
        method: [cell(scores, name, interval) for name, _, interval in columns]
        for method, scores in methods.items()
    }
