"""The numbers of an evaluation as files: tidy CSV, and one JSON with all of them and where they come from."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from depthdif.evaluation.result import Evaluation, Method
from depthdif.scores.score import Scores, in_units

Row = dict[str, Any]


def write_files(found: Evaluation, folder: Path) -> None:
    """Write `scores.csv`, `spectra.csv`, `ranks.csv` (those that have rows) and `evaluation.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (
        ("scores.csv", list(score_rows(found))),
        ("spectra.csv", list(spectrum_rows(found))),
        ("ranks.csv", list(rank_rows(found))),
    ):
        if rows:
            write_csv(folder / name, rows)
    unfinished = folder / "evaluation.unfinished.json"
    # NaN is no JSON: an undefined number must not get here.
    unfinished.write_text(json.dumps(as_json(found), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    unfinished.replace(folder / "evaluation.json")


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write rows of the same keys beside `path`, then into it."""
    unfinished = path.with_suffix(".unfinished.csv")
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    unfinished.replace(path)


def score_rows(found: Evaluation) -> Iterator[Row]:
    """A row for each number of the table, over all depths (`depth_m` empty), of each depth, and at other densities."""
    share = found.provenance["run"]["data"]["validation_density"]
    for method, scores in found.overall.items():
        yield from rows_of(found, method, scores, share, "")
    for method, levels in found.by_depth.items():
        for depth, scores in zip(found.depths, levels, strict=True):
            yield from rows_of(found, method, scores, share, float(depth))
    for density, methods in found.density.items():
        if density != share:
            for method, scores in methods.items():
                yield from rows_of(found, method, scores, density, "")


def rows_of(
    found: Evaluation, method: Method, scores: Scores, share: float, depth: float | str
) -> Iterator[Row]:
    """The scores of a method, one a row; those without interval have empty limits."""
    for name, score in scores.items():
        yield {
            **named(found, method),
            "observed_share": share,
            "depth_m": depth,
            "score": name,
            "units": in_units(name, found.units),
            "value": score.value,
            "low_95": "" if score.low is None else score.low,
            "high_95": "" if score.high is None else score.high,
            "patches": found.patches,
            "checkpoint": found.provenance["checkpoint"],
            "checkpoint_sha256": found.provenance["checkpoint_sha256"],
            "seed": found.provenance["seed"],
            "depthdif": found.provenance["versions"]["depthdif"],
        }


def spectrum_rows(found: Evaluation) -> Iterator[Row]:
    """Isotropic spectra of the truth, of each method and of its error; rings without modes are left out."""
    grid = found.truth.grid.spectra
    for method, tally in [(None, found.truth), *found.tallies.items()]:
        power, error = tally.spectrum(), tally.spectrum(of_error=True)
        if grid is None or power is None or error is None:
            continue
        for level, ring in np.argwhere(np.isfinite(power)):
            yield {
                **named(found, method),
                "depth_m": float(found.depths[level]),
                "wavelength_km": float(1 / grid.wavenumbers[ring]),
                "units": f"({found.units})² km",
                "power": float(power[level, ring]),
                "error_power": float(error[level, ring]),
            }


def rank_rows(found: Evaluation) -> Iterator[Row]:
    """The rank histograms (of the Gaussian forecasts: their PIT in as many bins)."""
    for method, tally in found.tallies.items():
        if tally.has_spread:
            for rank, (share, low, high) in enumerate(zip(*tally.rank_shares(found.counts), strict=True)):
                yield {
                    **named(found, method),
                    "rank": rank,
                    "share": float(share),
                    "low_95": float(low),
                    "high_95": float(high),
                }


def named(found: Evaluation, method: Method | None) -> Row:
    """The columns that tell a method; None is the truth."""
    if method is None:
        return {"method": "truth", "weights": "", "estimate": ""}
    return {"method": method.name, "weights": method.weights, "estimate": method.estimate}


def as_json(found: Evaluation) -> dict[str, Any]:
    """All numbers by the label of their method, and the provenance."""

    def plain(scores: Scores) -> Row:
        return {
            name: {key: value for key, value in asdict(score).items() if value is not None}
            for name, score in scores.items()
        }

    pairs = {
        method.label: tally.spread_and_error() for method, tally in found.tallies.items() if tally.has_spread
    }
    return {
        "provenance": {**found.provenance, "patches": found.patches},
        "units": found.units,
        "overall": {method.label: plain(scores) for method, scores in found.overall.items()},
        "by_depth": {
            method.label: [
                {"depth_m": float(depth), **plain(scores)}
                for depth, scores in zip(found.depths, levels, strict=True)
            ]
            for method, levels in found.by_depth.items()
        },
        "by_observed_share": [
            {"observed_share": density, **{method.label: plain(scores) for method, scores in methods.items()}}
            for density, methods in found.density.items()
        ],
        "spread_and_error": {
            label: {"spread": spread.tolist(), "rmse": error.tolist()}
            for label, (spread, error) in pairs.items()
        },
        "ranks": list(rank_rows(found)),
        "spectra": list(spectrum_rows(found)),
    }
