"""The record that scripts/evaluate.py wrote of a checkpoint, for its model card; recognised by the hash of the checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from depthdif import UserError
from depthdif.evaluation.table import COLUMNS, cell
from depthdif.scores.score import Score, Scores
from depthdif.scores.score_names import variant_label

FILE = "evaluation.json"
# Keys of the provenance by which records are recognised and chosen.
REQUIRED = {"checkpoint_sha256", "patches", "created", "seen_in_training"}


def evaluation_record(checkpoint: Path, digest: str, path: str | None = None) -> dict[str, Any] | None:
    """The content of the `evaluation.json` of a checkpoint: of several the one over most patches, then the newest.

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
        record = read(file)
        if record is None or record["provenance"]["checkpoint_sha256"] != digest:
            raise UserError(
                f"evaluation={path}: is not of this checkpoint; run python scripts/evaluate.py checkpoint={checkpoint}"
            )
        return record
    run = checkpoint.parent.parent
    records = [read(file) for file in (*run.glob(f"**/{FILE}"), *run.parent.glob(f"*/{FILE}"))]
    usable = [
        record
        for record in records
        if record is not None
        and record["provenance"]["checkpoint_sha256"] == digest
        and not record["provenance"]["seen_in_training"]
    ]
    order = [(record["provenance"]["patches"], record["provenance"]["created"]) for record in usable]
    return usable[order.index(max(order))] if usable else None


def read(path: Path) -> dict[str, Any] | None:
    """The content of an `evaluation.json`; None for any other file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError):
        return None
    provenance = content.get("provenance", {}) if isinstance(content, dict) else {}
    return content if provenance.keys() >= REQUIRED else None


def scores_by_method(record: Mapping[str, Any]) -> dict[str, Scores]:
    """Scores over all depths by the label of the method."""
    return {
        method: {name: Score(**score) for name, score in scores.items()}
        for method, scores in record["overall"].items()
    }


def variant_scores(record: Mapping[str, Any], variant: str) -> tuple[str, Scores]:
    """Label and scores of the last row of a variant, which has most members; without scores where there is no such row."""
    label = f"{variant_label(variant)}, "
    rows = [
        (method, scores) for method, scores in scores_by_method(record).items() if method.startswith(label)
    ]
    return rows[-1] if rows else ("", {})


def evaluation_section(record: Mapping[str, Any]) -> str:
    """The table of the evaluation in Markdown, below a sentence on its data."""
    methods, provenance = scores_by_method(record), record["provenance"]
    columns = [column for column in COLUMNS if any(column[0] in scores for scores in methods.values())]
    rows = {
        method: [cell(scores, name, interval) for name, _, interval in columns]
        for method, scores in methods.items()
    }
    share = 100 * provenance["run"]["data"]["validation_density"]
    return (
        f"{provenance['patches']} patches of the region held out, {share:g} % of the ocean columns observed, unobserved ocean "
        f"cells of all depths, {record['units']}; in brackets 95 % intervals over patches:\n\n"
        + markdown_table("method", [heading for _, heading, _ in columns], rows)
    )


def markdown_table(corner: str, headings: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    """A Markdown table of numbers, its rows by their labels."""
    lines = [f"| {corner} | {' | '.join(headings)} |", "| --- |" + " ---: |" * len(headings)]
    return "\n".join([*lines, *(f"| {label} | {' | '.join(cells)} |" for label, cells in rows.items())])
