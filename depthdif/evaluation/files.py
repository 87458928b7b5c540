"""The numbers of an evaluation as files: tidy CSV, and one JSON with all of them and their provenance."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from depthdif.evaluation.result import Evaluation, Method
from depthdif.files import write_csv, write_text
from depthdif.scores.score import Scores, in_units

Row = dict[str, Any]


def write_files(evaluation: Evaluation, folder: Path) -> None:
    """Write `scores.csv`, `spectra.csv`, `ranks.csv` (those that have rows) and `evaluation.json`."""
    for name, rows in (
        ("scores.csv", list(score_rows(evaluation))),
        ("spectra.csv", list(spectrum_rows(evaluation))),
        ("ranks.csv", list(rank_rows(evaluation))),
    ):
        if rows:
            write_csv(folder / name, rows)
    # NaN is no JSON: an undefined number must not get here.
    text = json.dumps(as_json(evaluation), indent=1, allow_nan=False)
    write_text(folder / "evaluation.json", text + "\n")


def score_rows(evaluation: Evaluation) -> Iterator[Row]:
    """A row for each number of the table, over all depths (`depth_m` empty), of each depth, and at other densities."""
    share = evaluation.provenance["run"]["data"]["validation_density"]
    for method, scores in evaluation.overall.items():
        yield from method_rows(evaluation, method, scores, share, "")
    for method, levels in evaluation.by_depth.items():
        for depth, scores in zip(evaluation.depths, levels, strict=True):
            yield from method_rows(evaluation, method, scores, share, float(depth))
    for density, methods in evaluation.density.items():
        if density != share:
            for method, scores in methods.items():
                yield from method_rows(evaluation, method, scores, density, "")


def method_rows(
    evaluation: Evaluation, method: Method, scores: Scores, share: float, depth: float | str
) -> Iterator[Row]:
    """One row for each score of a method; limits are empty without an interval."""
    for name, score in scores.items():
        yield {
            **method_columns(evaluation, method),
            "observed_share": share,
            "depth_m": depth,
            "score": name,
            "units": in_units(name, evaluation.units),
            "value": score.value,
            "low_95": score.low,
            "high_95": score.high,
            "patches": evaluation.patches,
            "checkpoint": evaluation.provenance["checkpoint"],
            "checkpoint_sha256": evaluation.provenance["checkpoint_sha256"],
            "seed": evaluation.provenance["seed"],
            "depthdif": evaluation.provenance["versions"]["depthdif"],
        }


def spectrum_rows(evaluation: Evaluation) -> Iterator[Row]:
    """Isotropic spectra of the truth, of each method and of its error; rings without modes are left out."""
    grid = evaluation.truth.grid.spectra
    for method, tally in [(None, evaluation.truth), *evaluation.tallies.items()]:
        power, error = tally.spectrum(), tally.spectrum(error=True)
        if grid is None or power is None or error is None:
            continue
        for level, ring in np.argwhere(np.isfinite(power)):
            yield {
                **method_columns(evaluation, method),
                "depth_m": float(evaluation.depths[level]),
                "wavelength_km": float(1 / grid.wavenumbers[ring]),
                "units": f"({evaluation.units})² km",
                "power": float(power[level, ring]),
                "error_power": float(error[level, ring]),
            }


def rank_rows(evaluation: Evaluation) -> Iterator[Row]:
    """The rank histograms (of the Gaussian forecasts: their PIT in as many bins)."""
    for method, tally in evaluation.tallies.items():
        if tally.has_spread:
            for rank, (share, low, high) in enumerate(
                zip(*tally.rank_shares(evaluation.counts), strict=True)
            ):
                yield {
                    **method_columns(evaluation, method),
                    "rank": rank,
                    "share": float(share),
                    "low_95": float(low),
                    "high_95": float(high),
                }


def method_columns(evaluation: Evaluation, method: Method | None) -> Row:
    """The columns that identify a method; None is the truth."""
    if method is None:
        return {"method": "truth", "weights": "", "estimate": ""}
    return {"method": method.name, "weights": method.weights, "estimate": method.estimate}


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """All numbers by the label of their method, and the provenance."""

    def plain(scores: Scores) -> Row:
        return {
            name: {key: value for key, value in asdict(score).items() if value is not None}
            for name, score in scores.items()
        }

    pairs = {
        method.label: tally.spread_and_error()
        for method, tally in evaluation.tallies.items()
        if tally.has_spread
    }
    return {
        "provenance": {**evaluation.provenance, "patches": evaluation.patches},
        "units": evaluation.units,
        "overall": {method.label: plain(scores) for method, scores in evaluation.overall.items()},
        "by_depth": {
            method.label: [
                {"depth_m": float(depth), **plain(scores)}
                for depth, scores in zip(evaluation.depths, levels, strict=True)
            ]
            for method, levels in evaluation.by_depth.items()
        },
        "by_observed_share": [
            {"observed_share": density, **{method.label: plain(scores) for method, scores in methods.items()}}
            for density, methods in evaluation.density.items()
        ],
        "spread_and_error": {
            label: {"spread": spread.tolist(), "rmse": error.tolist()}
            for label, (spread, error) in pairs.items()
        },
        "ranks": list(rank_rows(evaluation)),
        "spectra": list(spectrum_rows(evaluation)),
    }
