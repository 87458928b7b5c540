"""What scripts/evaluate.py found of a checkpoint, for its model card: recognised by the hash of the checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from depthdif.evaluation.table import COLUMNS, cell
from depthdif.scores.score import Score, Scores
from depthdif.scores.score_names import variant_label

FILE = "evaluation.json"
# What an evaluation is told by.
ORIGIN = {"checkpoint_sha256", "patches", "created", "seen_in_training"}


def evaluation_of(checkpoint: Path, digest: str, named: str | None = None) -> dict[str, Any] | None:
    """The content of the `evaluation.json` of a checkpoint; of several the one over most patches, then the newest.

    Looked for in the folder of the run and in the folders beside it, where scripts/evaluate.py writes; an evaluation of a
    region that the model was trained on is passed over. None where there is none.

    Args:
        checkpoint: that was evaluated, RUN_FOLDER/checkpoints/NAME.
        digest: its SHA-256.
        named: the file to take instead, or its folder.

    Raises:
        FileNotFoundError, ValueError: the file named does not exist, or is not of this checkpoint.
    """
    if named is not None:
        path = Path(named) / FILE if Path(named).is_dir() else Path(named)
        if not path.is_file():
            raise FileNotFoundError(
                f"evaluation={named}: no such file; type evaluation=runs/DATE_TIME/{FILE}"
            )
        found = read(path)
        if found is None or found["provenance"]["checkpoint_sha256"] != digest:
            raise ValueError(
                f"evaluation={named}: is not of this checkpoint; type: python scripts/evaluate.py checkpoint={checkpoint}"
            )
        return found
    run = checkpoint.parent.parent
    everything = [read(path) for path in (*run.glob(f"**/{FILE}"), *run.parent.glob(f"*/{FILE}"))]
    mine = [
        found
        for found in everything
        if found is not None
        and found["provenance"]["checkpoint_sha256"] == digest
        and not found["provenance"]["seen_in_training"]
    ]
    order = [(found["provenance"]["patches"], found["provenance"]["created"]) for found in mine]
    return mine[order.index(max(order))] if mine else None


def read(path: Path) -> dict[str, Any] | None:
    """The content of an `evaluation.json`; None where it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError):
        return None
    origin = content.get("provenance", {}) if isinstance(content, dict) else {}
    return content if origin.keys() >= ORIGIN else None


def scores_by_method(found: Mapping[str, Any]) -> dict[str, Scores]:
    """Scores over all depths by the label of the method."""
    return {
        method: {name: Score(**score) for name, score in scores.items()}
        for method, scores in found["overall"].items()
    }


def scores_of_weights(found: Mapping[str, Any], weights: str) -> tuple[str, Scores]:
    """The row of some weights, with most samples where there are several, and its label; without scores where there is none."""
    label = f"{variant_label(weights)}, "
    rows = [
        (method, scores) for method, scores in scores_by_method(found).items() if method.startswith(label)
    ]
    return rows[-1] if rows else ("", {})


def evaluation_section(found: Mapping[str, Any]) -> str:
    """The table of the evaluation in Markdown, and what it is over."""
    methods, provenance = scores_by_method(found), found["provenance"]
    columns = [column for column in COLUMNS if any(column[0] in scores for scores in methods.values())]
    lines = [
        "| method | " + " | ".join(heading for _, heading, _ in columns) + " |",
        "| --- |" + " ---: |" * len(columns),
    ]
    for method, scores in methods.items():
        cells = [cell(scores, name, interval) for name, _, interval in columns]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    share = 100 * provenance["run"]["data"]["validation_density"]
    return (
        f"{provenance['patches']} patches of the region held out, {share:g} % of the ocean columns observed, unobserved ocean "
        f"cells of all depths, {found['units']}; in brackets 95 % intervals over patches:\n\n"
        + "\n".join(lines)
    )
