"""The result as files: tidy CSV, and one JSON of all numbers and their record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from depthdif.evaluation.result import Evaluation, Method
from depthdif.files import write_csv, write_text
from depthdif.scores.score import Score, Scores, in_units

Row = dict[str, Any]


def write_files(evaluation: Evaluation, folder: Path) -> None:
    """Write `scores.csv`, `spectra.csv`, `ranks.csv` (those that have rows) and `evaluation.json`."""
    spectra, ranks = list(spectrum_rows(evaluation)), list(rank_rows(evaluation))
    tables = {"scores.csv": list(score_rows(evaluation)), "spectra.csv": spectra, "ranks.csv": ranks}
    for name, rows in tables.items():
        if rows:
            write_csv(folder / name, rows)
    content = {
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
            method.label: dict(
                zip(("spread", "rmse"), np.asarray(tally.spread_and_error()).tolist(), strict=True)
            )
            for method, tally in evaluation.tallies.items()
            if tally.has_spread
        },
        "ranks": ranks,
        "spectra": spectra,
        "gradients": gradients(evaluation),
    }
    if evaluation.inversions:
        content["density_inversions"] = {
            method.label: {"share": found.share, "pairs": found.pairs}
            for method, found in evaluation.inversions.items()
            if found.pairs
        }
    if evaluation.followed is not None:
        content["followed"] = {
            "place": evaluation.followed.place,
            "dates": evaluation.followed.dates,
            "flicker": evaluation.followed.flicker,
            "time_correlated_noise": evaluation.provenance["run"]["model"]["sampler"].get(
                "time_correlated_noise"
            ),
        }
    # JSON has no NaN: an undefined number is a bug here.
    write_text(folder / "evaluation.json", json.dumps(content, indent=1, allow_nan=False) + "\n")


def plain(scores: Scores) -> Row:
    """Scores as plain values, without the limits that are not defined."""
    return {
        name: {key: value for key, value in asdict(score).items() if value is not None}
        for name, score in scores.items()
    }


def score_rows(evaluation: Evaluation) -> Iterator[Row]:
    """A row for each number of the table, over all depths (`depth_m` empty), of each depth, and at other densities."""
    provenance = evaluation.provenance
    share = provenance["run"]["data"]["validation_density"]
    groups: list[tuple[Method, Scores, float, float | str]] = [
        *((method, scores, share, "") for method, scores in evaluation.overall.items()),
        *(
            (method, scores, share, float(depth))
            for method, levels in evaluation.by_depth.items()
            for depth, scores in zip(evaluation.depths, levels, strict=True)
        ),
        *(
            (method, scores, density, "")
            for density, methods in evaluation.density.items()
            if density != share
            for method, scores in methods.items()
        ),
    ]
    record = {
        "patches": evaluation.patches,
        "checkpoint": provenance["checkpoint"],
        "checkpoint_sha256": provenance["checkpoint_sha256"],
        "seed": provenance["seed"],
        "depthdif": provenance["versions"]["depthdif"],
    }

    def row(method: Method, observed_share: float, depth: float | str, name: str, score: Score) -> Row:
        return {
            **method.columns,
            "observed_share": observed_share,
            "depth_m": depth,
            "score": name,
            "units": in_units(name, evaluation.units),
            "value": score.value,
            "low_95": score.low,
            "high_95": score.high,
            **record,
        }

    for method, scores, observed_share, depth in groups:
        for name, score in scores.items():
            yield row(method, observed_share, depth, name, score)
    for method, found in evaluation.inversions.items():
        if found.share is not None:
            yield row(method, share, "", "density_inversions", Score(found.share))


def spectrum_rows(evaluation: Evaluation) -> Iterator[Row]:
    """Isotropic spectra of the truth, of each method and of its error; rings without modes are left out."""
    for method, tally in {Method("truth"): evaluation.truth, **evaluation.tallies}.items():
        spectra, grid = tally.structure.spectra(), tally.grid.spectra
        if spectra is None or grid is None:
            continue
        power, error_power = spectra
        for level, ring in np.argwhere(np.isfinite(power)):
            yield {
                **method.columns,
                "depth_m": float(evaluation.depths[level]),
                "wavelength_km": float(1 / grid.wavenumbers[ring]),
                "units": f"({evaluation.units})² km",
                "power": float(power[level, ring]),
                "error_power": float(error_power[level, ring]),
            }


def rank_rows(evaluation: Evaluation) -> Iterator[Row]:
    """The rank histograms (of the Gaussian forecasts: their PIT in as many bins)."""
    for method, tally in evaluation.tallies.items():
        if tally.has_spread:
            for rank, shares in enumerate(np.transpose(tally.rank_shares(evaluation.counts)).tolist()):
                yield {
                    **method.columns,
                    "rank": rank,
                    **dict(zip(("share", "low_95", "high_95"), shares, strict=True)),
                }


def gradients(evaluation: Evaluation) -> Row:
    """Share of the gradients above each threshold, at each depth that has any, of truth and methods."""
    truth = evaluation.truth.structure
    methods = {"truth": truth} | {
        method.label: tally.structure for method, tally in evaluation.tallies.items()
    }
    return {
        "units": f"{evaluation.units} per 100 km",
        "thresholds": truth.thresholds.tolist(),
        "shares_above": {
            label: [
                {"depth_m": float(depth), "shares": shares.round(6).tolist()}
                for depth, shares in zip(evaluation.depths, structure.shares_above, strict=True)
                if np.isfinite(shares).all()
            ]
            for label, structure in methods.items()
        },
    }
