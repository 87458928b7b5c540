"""Which lines the charts show: scores against steps, best scores against half-life, distances against steps."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from depthdif.comparison.charts import STANDARD_COLOUR, Line, Point, colour_between
from depthdif.comparison.differences import EMA, below, listed, settings
from depthdif.comparison.ranking import IS_LOWER_BETTER, Entry, Ranking
from depthdif.comparison.run import STANDARD, Run

# Score -> what the axis says. The units of the field are not known here.
SCORE_NAMES = {
    "mse": "MSE (units of the field, squared)",
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "ratio": "MSE of the EMA / MSE of the standard weights",
}
DISTANCE_NAMES = {
    "relative_rms": "RMS distance / RMS of the standard weights",
    "rms": "RMS distance",
    "mean_abs": "mean absolute distance",
    "max_abs": "largest distance",
}


def colours(entries: Sequence[Entry]) -> dict[str, str]:
    """A colour for the weights of each entry, by its label: from short to long half-life, grey for the standard ones."""
    lives = sorted({known_half_life(entry) for entry in entries} - {0.0})
    last = max(len(lives) - 1, 1)
    return {
        entry.label: STANDARD_COLOUR
        if entry.state.name == STANDARD
        else colour_between(lives.index(known_half_life(entry)) / last if known_half_life(entry) else 0.0)
        for entry in entries
    }


def known_half_life(entry: Entry) -> float:
    """Half-life in steps; 0 where it is unknown."""
    return entry.state.half_life or 0.0


def score_lines(ranking: Ranking, score: str) -> list[Line]:
    """A line for each set of weights: a score against optimizer steps, the best of all marked."""
    colour = colours(ranking.entries)
    best = best_entry(ranking, score)
    return [
        Line(
            key=entry.label,
            label=entry.label,
            points=[Point(step, value) for step, value in entry.score(score).items()],
            colour=colour[entry.label],
            marked=Point(*value) if entry is best and (value := entry.best(score)) else None,
            is_dashed=entry.state.name == STANDARD,
        )
        for entry in ranking.entries
        if entry.score(score)
    ]


def best_entry(ranking: Ranking, score: str) -> Entry | None:
    """The weights with the best value of a score."""
    sign = 1 if IS_LOWER_BETTER[score] else -1
    found = [
        (sign * best[1], index) for index, entry in enumerate(ranking.entries) if (best := entry.best(score))
    ]
    return ranking.entries[min(found)[1]] if found else None


def half_life_lines(ranking: Ranking, score: str) -> list[Line]:
    """The best score of each average against its half-life; runs that differ in their EMA alone share a line.

    Dashed, the best score of the standard weights of these runs.
    """
    best = best_entry(ranking, score)
    lines = []
    families: dict[str, list[Entry]] = {}
    for entry in ranking.entries:
        families.setdefault(family(entry.run), []).append(entry)
    for number, (key, members) in enumerate(families.items()):
        averages = [(entry, entry.best(score)) for entry in members if entry.state.name != STANDARD]
        points = sorted(
            Point(known_half_life(entry), value[1], entry.label)
            for entry, value in averages
            if value and 0 < known_half_life(entry) < math.inf
        )
        of_family = [run.name for run in ranking.group.runs if family(run) == key]
        names = listed(of_family, most=2)
        colour = colour_between(number / max(len(families) - 1, 1))
        if points:
            marked = next((point for point in points if best and point.name == best.label), None)
            lines.append(Line(key, f"EMA of {names}", points, colour, marked))
        values = [
            value[1] for entry in members if entry.state.name == STANDARD and (value := entry.best(score))
        ]
        if points and values:
            level = min(values) if IS_LOWER_BETTER[score] else max(values)
            ends = [Point(points[0].x * 0.9, level), Point(points[-1].x * 1.1, level)]
            lines.append(Line(key, f"standard weights of {names}", ends, STANDARD_COLOUR, is_dashed=True))
    return lines


def family(run: Run) -> str:
    """The same for runs that differ in their EMA alone."""
    of_run = {key: value for key, value in settings(run).items() if not below(key, EMA)}
    return json.dumps(of_run, sort_keys=True) if of_run else str(run.folder)


def distance_lines(ranking: Ranking, which: str) -> list[Line]:
    """A line for each average: its distance from the standard weights against optimizer steps."""
    colour = colours(ranking.entries)
    return [
        Line(
            key=entry.label,
            label=entry.label,
            points=[Point(step, value) for step, value in entry.state.distances[which].items()],
            colour=colour[entry.label],
        )
        for entry in ranking.entries
        if which in entry.state.distances
    ]
