"""The lines of the charts: scores against steps, best scores against half-life, distances against steps."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from depthdif.comparison.charts import STANDARD_COLOUR, Line, Point, colour_between
from depthdif.comparison.differences import EMA, is_inside, join_names, settings
from depthdif.comparison.ranking import IS_LOWER_BETTER, Entry, Ranking
from depthdif.comparison.run import Run
from depthdif.scores.score_names import SCORES, STANDARD

# Label of the axis of each score. The units of the field are not known here.
UNITS = {"{}²": " (units of the field, squared)", "{}": " (units of the field)", "dB": " (dB)", "": ""}
SCORE_NAMES = {name: score.label + UNITS[score.units] for name, score in SCORES.items()} | {
    "ratio": "MSE of the EMA / MSE of the standard weights"
}
FIRST_GUESS_COLOUR = "#2b9a66"
FIRST_GUESS_LABEL = "first guess"
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
        if entry.variant.name == STANDARD
        else colour_between(lives.index(known_half_life(entry)) / last if known_half_life(entry) else 0.0)
        for entry in entries
    }


def known_half_life(entry: Entry) -> float:
    """Half-life in steps; 0 where it is unknown."""
    return entry.variant.half_life or 0.0


def score_lines(ranking: Ranking, score: str) -> list[Line]:
    """A line for each variant: a score against optimizer steps, the best of all marked; dashed, that of the first guess."""
    colour = colours(ranking.entries)
    best = best_entry(ranking, score)
    lines = [
        Line(
            key=entry.label,
            label=entry.label,
            points=[Point(step, value) for step, value in entry.score(score).items()],
            colour=colour[entry.label],
            marked=Point(*value) if entry is best and (value := entry.best(score)) else None,
            is_dashed=entry.variant.name == STANDARD,
        )
        for entry in ranking.entries
        if entry.score(score)
    ]
    return lines + first_guess_lines(ranking, score, lines)


def first_guess_lines(ranking: Ranking, score: str, lines: Sequence[Line]) -> list[Line]:
    """The score of the first guess as a level over the whole width of the other lines; none without one."""
    ends = sorted({point.x for line in lines for point in line.points})
    if not ends or score not in ranking.first_guess:
        return []
    points = [Point(x, ranking.first_guess[score]) for x in dict.fromkeys((ends[0], ends[-1]))]
    return [Line(FIRST_GUESS_LABEL, FIRST_GUESS_LABEL, points, FIRST_GUESS_COLOUR, is_dashed=True)]


def best_entry(ranking: Ranking, score: str) -> Entry | None:
    """The weights with the best value of a score."""
    sign = 1 if IS_LOWER_BETTER[score] else -1
    candidates = [
        (sign * best[1], index) for index, entry in enumerate(ranking.entries) if (best := entry.best(score))
    ]
    return ranking.entries[min(candidates)[1]] if candidates else None


def half_life_lines(ranking: Ranking, score: str) -> list[Line]:
    """The best score of each average against its half-life; runs that differ in their EMA alone share a line.

    Dashed, the best score of the standard weights of these runs, and that of the first guess.
    """
    best = best_entry(ranking, score)
    lines = []
    families: dict[str, list[Entry]] = {}
    for entry in ranking.entries:
        families.setdefault(family(entry.run), []).append(entry)
    for number, (key, members) in enumerate(families.items()):
        averages = [(entry, entry.best(score)) for entry in members if entry.variant.name != STANDARD]
        points = sorted(
            Point(known_half_life(entry), value[1], entry.label)
            for entry, value in averages
            if value and 0 < known_half_life(entry) < math.inf
        )
        same = [run.name for run in ranking.group.runs if family(run) == key]
        names = join_names(same, most=2)
        colour = colour_between(number / max(len(families) - 1, 1))
        if points:
            marked = next((point for point in points if best and point.name == best.label), None)
            lines.append(Line(key, f"EMA of {names}", points, colour, marked))
        values = [
            value[1] for entry in members if entry.variant.name == STANDARD and (value := entry.best(score))
        ]
        if points and values:
            level = min(values) if IS_LOWER_BETTER[score] else max(values)
            ends = [Point(points[0].x * 0.9, level), Point(points[-1].x * 1.1, level)]
            lines.append(Line(key, f"standard weights of {names}", ends, STANDARD_COLOUR, is_dashed=True))
    return lines + first_guess_lines(ranking, score, lines)


def family(run: Run) -> str:
    """The same for runs that differ in their EMA alone."""
    values = {key: value for key, value in settings(run).items() if not is_inside(key, EMA)}
    return json.dumps(values, sort_keys=True) if values else str(run.folder)


def distance_lines(ranking: Ranking, which: str) -> list[Line]:
    """A line for each average: its distance from the standard weights against optimizer steps."""
    colour = colours(ranking.entries)
    return [
        Line(
            key=entry.label,
            label=entry.label,
            points=[Point(step, value) for step, value in entry.variant.distances[which].items()],
            colour=colour[entry.label],
        )
        for entry in ranking.entries
        if which in entry.variant.distances
    ]
