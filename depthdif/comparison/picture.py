"""The main charts of a comparison side by side, as an SVG file."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from depthdif.comparison.charts import HEIGHT, WIDTH, Line, chart, swatch
from depthdif.comparison.curves import (
    DISTANCE_NAMES,
    SCORE_NAMES,
    distance_lines,
    half_life_lines,
    score_lines,
)
from depthdif.comparison.ranking import Ranking

MOST_NAMED = 24
LETTERS_PER_LINE = 200


def picture(ranked: Sequence[Ranking]) -> str:
    """Of the largest group the conclusion, MSE by step and by half-life, the relative distance, and a legend."""
    title = ["No run has scored a reconstruction yet"]
    charts, lines = {}, list[Line]()
    if ranked:
        first = ranked[0]
        title = textwrap.wrap(first.conclusion, LETTERS_PER_LINE)
        if len(ranked) > 1:
            title.append(f"This is group 1 of {len(ranked)}; scores of different groups do not compare.")
        steps, mse, relative = "optimizer steps", SCORE_NAMES["mse"], DISTANCE_NAMES["relative_rms"]
        lines = score_lines(first, "mse")
        by_half_life, distances = half_life_lines(first, "mse"), distance_lines(first, "relative_rms")
        charts = {
            "Validations, best ringed": chart("Validations", steps, mse, lines),
            "Best validation of each average": chart(
                "Best validations", "half-life (optimizer steps)", mse, by_half_life, True
            ),
            "Distance from the standard weights": chart("Distance", steps, relative, distances),
        }
    environment = Environment(
        loader=PackageLoader("depthdif.comparison"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    top = 60 + 22 * len(title)
    return environment.get_template("picture.svg.jinja").render(
        title=title,
        # A chart without values is a paragraph of HTML, which an SVG cannot show.
        charts=[(name, one if one.startswith("<svg") else "") for name, one in charts.items()],
        legend=lines[:MOST_NAMED],
        swatch=swatch,
        top=top,
        chart_width=WIDTH,
        chart_height=HEIGHT,
        legend_top=top + HEIGHT + 20,
        width=3 * (WIDTH + 20) + 20,
        height=top + HEIGHT + 40 + 20 * -(-min(len(lines), MOST_NAMED) // 6),
    )
