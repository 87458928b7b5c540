"""The lines of the charts: scores and distances against steps, best scores against half-life."""

from __future__ import annotations

import math
from collections.abc import Sequence

from depthdif.comparison.charts import STANDARD_COLOUR, Line, Point, colour_between
from depthdif.comparison.differences import EMA, is_inside, join_names, settings
from depthdif.comparison.ranking import IS_LOWER_BETTER, Entry, Ranking
from depthdif.comparison.run import Run
from depthdif.scores.score_names import SCORES, STANDARD

# Label of the axis of each score. The units of the field are not known here.
UNITS = {"{}²": " (units of the field, squared)", "{}": " (units of the field)", "dB": " (dB)", "": ""}
SCORE_LABELS = {name: score.label + UNITS[score.units] for name, score in SCORES.items()} | {
    "ratio": "MSE of the EMA / MSE of the standard weights"
}
FIRST_GUESS_COLOUR = "#2b9a66"


def colours(entries: Sequence[Entry]) -> list[str]:
    """A colour for the weights of each entry: from short to long half-life, grey for the standard ones."""
    lives = sorted({entry.variant.half_life for entry in entries if entry.variant.half_life})
    position = {life: index / max(len(lives) - 1, 1) for index, life in enumerate(lives)}
    return [
        STANDARD_COLOUR
        if entry.variant.name == STANDARD
        else colour_between(position.get(entry.variant.half_life or 0.0, 0.0))
        for entry in entries
    ]


def step_lines(ranking: Ranking, name: str) -> list[Line]:
    """A line for each variant: a score or a distance against optimizer steps.

    The best value of a score is marked; the standard weights and the first guess are dashed.
    """
    best = best_entry(ranking, name)
    lines = [
        Line(
            entry.label,
            [Point(step, value) for step, value in entry.series(name).items()],
            colour,
            marked=Point(*value) if entry is best and (value := entry.best(name)) else None,
            is_dashed=entry.variant.name == STANDARD,
        )
        for entry, colour in zip(ranking.entries, colours(ranking.entries), strict=True)
        if entry.series(name)
    ]
    return lines + first_guess_lines(ranking, name, lines)


def first_guess_lines(ranking: Ranking, name: str, lines: Sequence[Line]) -> list[Line]:
    """The score of the first guess as a level over the whole width of the other lines; empty without one."""
    xs = [point.x for line in lines for point in line.points]
    if not xs or name not in ranking.first_guess:
        return []
    points = [Point(x, ranking.first_guess[name]) for x in sorted({min(xs), max(xs)})]
    return [Line("first guess", points, FIRST_GUESS_COLOUR, is_dashed=True)]


def best_entry(ranking: Ranking, name: str) -> Entry | None:
    """The weights with the best value of a score; None without one, and for distances."""
    scored = [entry for entry in ranking.entries if name in IS_LOWER_BETTER and entry.best(name)]
    return min(scored, key=lambda entry: entry.cost(name), default=None)


def half_life_lines(ranking: Ranking, score: str) -> list[Line]:
    """The best score of each average against its half-life; runs that differ in their EMA alone share a line.

    Dashed, the best score of the standard weights of these runs, and that of the first guess.
    """
    best = best_entry(ranking, score)
    lines = []
    families: dict[object, list[Run]] = {}
    for run in ranking.runs:
        apart_from_ema = frozenset(item for item in settings(run).items() if not is_inside(item[0], EMA))
        families.setdefault(apart_from_ema or run.folder, []).append(run)
    for number, runs in enumerate(families.values()):
        scored = [(e, value[1]) for e in ranking.entries if e.run in runs and (value := e.best(score))]
        points = sorted(
            Point(half_life, value, entry.label)
            for entry, value in scored
            if (half_life := entry.variant.half_life) and half_life < math.inf
        )
        if not points:
            continue
        names = join_names([run.name for run in runs], most=2)
        colour = colour_between(number / max(len(families) - 1, 1))
        marked = next((point for point in points if best and point.name == best.label), None)
        lines.append(Line(f"EMA of {names}", points, colour, marked))
        if standard := [value for entry, value in scored if entry.variant.name == STANDARD]:
            level = min(standard) if IS_LOWER_BETTER[score] else max(standard)
            ends = [Point(points[0].x * 0.9, level), Point(points[-1].x * 1.1, level)]
            lines.append(Line(f"standard weights of {names}", ends, STANDARD_COLOUR, is_dashed=True))
    return lines + first_guess_lines(ranking, score, lines)
