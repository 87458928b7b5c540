"""The evaluation of a checkpoint is identified by its hash, and its table goes into the model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from depthdif.export.model_card import evaluated_scores, evaluation_record, evaluation_table

DIGEST = "a" * 64


def evaluation(
    digest: str = DIGEST, patches: int = 24, created: str = "2026-01-01", seen: bool = False
) -> dict[str, Any]:
    """As scripts/evaluate.py writes it."""
    return {
        "provenance": {
            "checkpoint_sha256": digest,
            "patches": patches,
            "created": created,
            "seen_in_training": seen,
            "run": {"data": {"validation_density": 0.05}},
        },
        "units": "°C",
        "overall": {
            "OI": {"rmse": {"value": 0.8, "low": 0.7, "high": 0.9}, "rmse_ratio": {"value": 1.0}},
            "standard, mean of 8": {"rmse": {"value": 0.9, "low": 0.8, "high": 1.0}},
            "EMA, one sample": {"rmse": {"value": 0.7, "low": 0.6, "high": 0.8}},
            "EMA, mean of 8": {
                "rmse": {"value": 0.6, "low": 0.5, "high": 0.7},
                "rmse_ratio": {"value": 0.75, "low": 0.7, "high": 0.8},
            },
            "EMA 0.5, mean of 8": {"rmse": {"value": 0.65, "low": 0.5, "high": 0.8}},
        },
    }


def write(folder: Path, content: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "evaluation.json").write_text(json.dumps(content))
    return folder


def test_the_one_over_most_patches_then_the_newest_is_taken(tmp_path: Path) -> None:
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert evaluation_record(checkpoint, DIGEST) is None
    write(tmp_path / "few", evaluation(patches=4, created="2026-03-01"))
    write(tmp_path / "old", evaluation())
    write(tmp_path / "run" / "evaluation", evaluation(created="2026-02-01"))
    write(tmp_path / "other", evaluation(digest="b" * 64, patches=99))
    write(tmp_path / "seen", evaluation(patches=99, seen=True))
    write(tmp_path / "foreign", ["nothing of ours"])
    record = evaluation_record(checkpoint, DIGEST)
    assert record is not None
    assert (record["provenance"]["patches"], record["provenance"]["created"]) == (24, "2026-02-01")


def test_one_of_another_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    folder = write(tmp_path / "set", evaluation())
    assert evaluation_record(checkpoint, DIGEST, str(folder)) == evaluation()
    with pytest.raises(ValueError, match=r"is not of this checkpoint; run python scripts/evaluate\.py"):
        evaluation_record(checkpoint, "b" * 64, str(folder / "evaluation.json"))
    with pytest.raises(FileNotFoundError, match="no such file; set evaluation="):
        evaluation_record(checkpoint, DIGEST, str(tmp_path / "none"))


def test_the_scores_of_a_variant_are_those_of_its_largest_ensemble() -> None:
    for variant, rmse in (("ema", 0.6), ("ema_0.5", 0.65), ("standard", 0.9)):
        assert evaluated_scores(evaluation(), variant)["rmse"] == rmse
    assert evaluated_scores(evaluation(), "ema_0.9") == {}


def test_the_table_shows_intervals_and_leaves_out_what_is_undefined() -> None:
    headings, rows = evaluation_table(evaluation())
    assert headings == ["RMSE", "RMSE / OI"]
    assert rows["OI"] == ["0.800 (0.700, 0.900)", "1.000"]
    assert rows["standard, mean of 8"] == ["0.900 (0.800, 1.000)", ""]
