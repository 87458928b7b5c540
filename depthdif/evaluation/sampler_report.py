"""What a benchmark of samplers found: table, verdicts, CSV and figure."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from depthdif.evaluation.sampler_benchmark import (
    FEW,
    NOT_FINITE,
    SCORES,
    UNSTABLE,
    Candidate,
    Point,
    best_point,
    verdicts,
)

TITLES = {
    "rmse": "RMSE of a sample",
    "rmse_mean": "RMSE of the mean of {members}",
    "crps": "CRPS of {members}",
}
COLUMNS = [field.name for field in dataclasses.fields(Point) if field.name != "candidate"]


def score_table(points: Sequence[Point], score: str, members: int, units: str) -> Table:
    """One score of each candidate against the evaluations asked for; those spent stand behind it where they are fewer."""
    asked = sorted({point.asked for point in points})
    table = Table(
        title=f"{TITLES[score].format(members=members)}, {units}, by evaluations of the network (* best of its column)"
    )
    table.add_column("sampler, spacing", no_wrap=True)
    best = {}
    for evaluations in asked:
        table.add_column(str(evaluations), justify="right", no_wrap=True)
        good = [getattr(p, score) for p in points if p.asked == evaluations and not p.fault]
        best[evaluations] = min(good, default=np.nan)
    for candidate, own in by_candidate(points).items():
        table.add_row(candidate.name, *(cell(point, score, best[point.asked]) for point in own))
    return table


def cell(point: Point, score: str, best: float) -> str:
    """A score as it is printed, `*` behind the best of its column."""
    if point.fault:
        return point.fault if point.fault in (UNSTABLE, NOT_FINITE) else "-"
    spent = f"({point.evaluations})" if point.evaluations != point.asked else ""
    return f"{spent}{getattr(point, score):.3f}{'*' if getattr(point, score) == best else ' '}"


def verdict_table(points: Sequence[Point], tolerance: float) -> Table:
    """For each candidate its scores at the most evaluations, and from how many on it stays within the tolerance above them."""
    table = Table(
        title=f"At the most evaluations, and (from how many on a score is at most {100 * tolerance:g} % above)"
    )
    for column in (
        "sampler, spacing",
        "RMSE",
        "of mean",
        "CRPS",
        "spread/skill",
        f"RMSE at {FEW} / this",
        "ms each",
    ):
        table.add_column(column, justify="left" if column.startswith("sampler") else "right", no_wrap=True)
    for verdict in verdicts(points, tolerance):
        last = verdict.reference
        scores = [f"{getattr(last, score):.3f} ({verdict.fewest[score]})" for score in SCORES]
        cost = f"{1e3 * last.seconds / last.evaluations:.2f}"
        ratios = [f"{last.spread / last.rmse_mean:.2f}", f"{verdict.change:.3f}" if verdict.few else "-"]
        table.add_row(verdict.candidate.name, *scores, *ratios, cost)
    return table


def verdict_line(points: Sequence[Point], tolerance: float) -> str:
    """How many candidates reach their own best with few evaluations, and which of them serves best."""
    found = verdicts(points, tolerance)
    quick = [verdict for verdict in found if verdict.fewest["rmse"] <= FEW]
    line = (
        f"verdict: {len(quick)} of {len(found)} need at most {FEW} evaluations for the RMSE of their largest number "
        f"within {100 * tolerance:g} %"
    )
    smoother = sum(verdict.change < 1 - tolerance for verdict in found)
    if smoother:
        line += f", and {smoother} lie more than that below it with {FEW}: samples still too smooth, or harmed by further steps"
    best = best_point(points)
    if best is None:
        return line
    return (
        f"{line}; lowest CRPS with at most {FEW}: {best.candidate.name}, model.sampler.steps={best.steps} "
        f"({best.evaluations} evaluations), CRPS {best.crps:.3f}, RMSE {best.rmse:.3f}, of the mean {best.rmse_mean:.3f}, "
        f"spread/skill {best.spread / best.rmse_mean:.2f}"
    )


def fault_lines(points: Sequence[Point]) -> list[str]:
    """One line for each candidate and kind of failure, with its first message."""
    found: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        if point.fault:
            found.setdefault((point.candidate.name, point.fault.partition(":")[0]), []).append(point)
    return [
        f"{name} at {', '.join(str(point.asked) for point in failed)}: {failed[0].fault}"
        for (name, _), failed in found.items()
    ]


def write_csv(points: Sequence[Point], path: Path) -> None:
    """A row for each point, written beside and then renamed."""
    unfinished = path.with_suffix(".unfinished.csv")
    with unfinished.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sampler", "spacing", *COLUMNS])
        for point in points:
            values = [getattr(point, column) for column in COLUMNS]
            writer.writerow([point.candidate.sampler, point.candidate.spacing, *values])
    unfinished.replace(path)


def curves_figure(
    points: Sequence[Point], members: int, units: str, title: str, first_guess_rmse: float | None = None
) -> Figure:
    """Each score against evaluations, a line for each sampler with the spacing that serves it best at few evaluations.

    A dotted line is the RMSE of the first guess on the same cells.
    """
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    figure.suptitle(title, fontsize=11)
    chosen = best_spacings(points)
    asked = sorted({point.asked for point in points})
    axes = figure.subplots(1, len(SCORES))
    for axis, score in zip(axes, SCORES, strict=True):
        for number, own in enumerate(chosen.values()):
            good = [point for point in own if not point.fault]
            axis.plot(
                [point.evaluations for point in good],
                [getattr(point, score) for point in good],
                marker="osD^v<>"[number % 7],
                linestyle=("-", "--")[number // 10 % 2],
                color=f"C{number % 10}",
                markersize=4,
                linewidth=1.2,
                label=good[0].candidate.name if good else None,
            )
        shown = [getattr(p, score) for own in chosen.values() for p in own if not p.fault]
        if score != "crps" and first_guess_rmse is not None:
            axis.axhline(first_guess_rmse, color="0.3", linewidth=1.2, linestyle=":", label="first guess")
            shown.append(first_guess_rmse)
        limit(axis, shown)
        axis.set_xscale("log")
        axis.set_xticks(asked, [str(number) for number in asked])
        axis.minorticks_off()
        axis.set_xlabel("evaluations of the network for each sample")
        axis.set_title(f"{TITLES[score].format(members=members)} ({units})", fontsize=10)
        axis.grid(alpha=0.3)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, loc="outside lower center", ncols=6)
    return figure


def best_spacings(points: Sequence[Point]) -> dict[str, list[Point]]:
    """The points of each sampler with the spacing of the lowest CRPS at few evaluations."""
    found: dict[str, tuple[float, list[Point]]] = {}
    for candidate, own in by_candidate(points).items():
        best = best_point(own) or best_point(own, max(point.asked for point in own))
        if best is not None and best.crps < found.get(candidate.sampler, (np.inf, []))[0]:
            found[candidate.sampler] = (best.crps, own)
    return {sampler: own for sampler, (_, own) in found.items()}


def by_candidate(points: Sequence[Point]) -> Mapping[Candidate, list[Point]]:
    """The points of each candidate, by evaluations."""
    found: dict[Candidate, list[Point]] = {}
    for point in sorted(points, key=lambda point: point.asked):
        found.setdefault(point.candidate, []).append(point)
    order = list(dict.fromkeys(point.candidate for point in points))
    return {candidate: found[candidate] for candidate in order}


def limit(axis: Axes, values: Sequence[float]) -> None:
    """Show the curves where they come together; what is far worse leaves the panel at the top."""
    if values:
        low, middle = min(values), float(np.median(values))
        axis.set_ylim(low - 0.1 * (middle - low) - 0.01 * low, min(max(values), 2.5 * middle) * 1.02)
