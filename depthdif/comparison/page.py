"""The page: one HTML file with everything in it, which loads nothing from a network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from depthdif.comparison.charts import Line, chart, swatch
from depthdif.comparison.curves import (
    DISTANCE_NAMES,
    SCORE_NAMES,
    distance_lines,
    half_life_lines,
    score_lines,
)
from depthdif.comparison.differences import differing
from depthdif.comparison.panels import Panels
from depthdif.comparison.ranking import Entry, Ranking
from depthdif.comparison.run import Run
from depthdif.comparison.scalars import Series
from depthdif.scores.score_names import SCORES, STANDARD

STEPS = "optimizer steps"
HALF_LIFE = "half-life (optimizer steps)"


def page(runs: Sequence[Run], ranked: Sequence[Ranking], panels: Panels, created: datetime) -> str:
    """The whole page as HTML. All text that comes from runs is escaped."""
    environment = Environment(
        loader=PackageLoader("depthdif.comparison"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    return environment.get_template("page.html.jinja").render(
        created=f"{created:%Y-%m-%d %H:%M}",
        runs=runs,
        groups=[group(one) for one in ranked],
        scores=SCORES,
        score_names=SCORE_NAMES,
        distance_names=DISTANCE_NAMES,
        differing=differing(runs),
        panels=panels,
        choices=[(run.name, variants) for run in runs if (variants := choices(run, panels))],
        shown_first=shown_first(ranked, panels),
        source=source,
    )


def source(name: str) -> Markup:
    """The style or the script of the page, as it is."""
    environment = Environment(loader=PackageLoader("depthdif.comparison"), autoescape=False)
    return Markup(environment.get_template(name).render())


def group(one: Ranking) -> dict[str, Any]:
    """What the template shows of one group: charts and tables for each score and distance."""
    scores = {name: score_lines(one, name) for name in SCORE_NAMES}
    distances = {name: distance_lines(one, name) for name in DISTANCE_NAMES}
    return {
        "ranking": one,
        "legend": [(line, swatch(line)) for line in scores["mse"] or distances["relative_rms"]],
        "scores": {
            name: {
                "curves": chart(f"{SCORE_NAMES[name]} by step", STEPS, name.upper(), lines),
                "half_life": chart(
                    f"Best {SCORE_NAMES[name]} by half-life",
                    HALF_LIFE,
                    name.upper(),
                    half_life_lines(one, name),
                    True,
                ),
                "table": table(lines),
            }
            for name, lines in scores.items()
        },
        "distances": {
            name: {
                "curves": chart(DISTANCE_NAMES[name], STEPS, DISTANCE_NAMES[name], lines),
                "table": table(lines),
            }
            for name, lines in distances.items()
        },
    }


def table(lines: Sequence[Line]) -> dict[str, Any]:
    """The numbers of a chart: steps, and a row of values for each line."""
    steps = sorted({point.x for line in lines for point in line.points})
    values: list[tuple[str, Series]] = [(line.label, {int(p.x): p.y for p in line.points}) for line in lines]
    return {
        "steps": [int(step) for step in steps],
        "rows": [(label, [series.get(int(step)) for step in steps]) for label, series in values],
    }


def choices(run: Run, panels: Panels) -> list[tuple[str, str]]:
    """The weights of a run that have panels: name and label."""
    labels = {variant.name: variant.label for variant in run.variants}
    return [(name, labels.get(name, name)) for name in panels.places.get(run.name, {})]


def shown_first(ranked: Sequence[Ranking], panels: Panels) -> list[tuple[str, str]]:
    """Run and weights of the left panel and of the right one: the standard weights and the best average of the best run."""
    with_panels: list[Entry] = [
        entry
        for one in ranked
        for entry in one.entries
        if entry.variant.name in panels.places.get(entry.run.name, {})
    ]
    best = next((entry for entry in with_panels if entry.variant.name != STANDARD), None)
    if best is not None:
        return [(best.run.name, STANDARD), (best.run.name, best.variant.name)]
    some = [(run, variant) for run, variants in panels.places.items() for variant in variants]
    return [some[0], some[-1]] if some else []


def number(value: float | None) -> str:
    """Four significant digits; a dash where there is no number."""
    if value is None:
        return "–"
    return f"{value:.4g}" if math.isfinite(value) else str(value)
