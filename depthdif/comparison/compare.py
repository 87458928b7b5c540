"""Compares runs: reads their folders, writes a page and a picture, logs the results.

The page is one HTML file that loads nothing from a network, the picture of its main charts an SVG file.
"""

from __future__ import annotations

import logging
import math
import textwrap
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from depthdif import UserError
from depthdif.comparison.charts import HEIGHT, TEMPLATES, WIDTH, Line, chart
from depthdif.comparison.curves import SCORE_LABELS, half_life_lines, step_lines
from depthdif.comparison.differences import differing
from depthdif.comparison.panels import Panels, collect_panels
from depthdif.comparison.ranking import Ranking, rankings, text_report
from depthdif.comparison.rules import QUESTIONS
from depthdif.comparison.run import DISTANCES, Run, find_run_folders, read_runs
from depthdif.files import write_text
from depthdif.scores.score_names import SCORES, STANDARD

log = logging.getLogger(__name__)

MEGABYTE = 1e6
STEPS = "optimizer steps"
HALF_LIFE = "half-life (optimizer steps)"
LEGEND_ENTRIES = 24
LEGEND_COLUMNS = 6
LETTERS_PER_LINE = 200


def compare(
    runs: Sequence[str | Path], output_dir: str | Path, megabytes: float = 18, variable: str | None = None
) -> Path:
    """Compare run folders, or those in the folders of sweeps; runs may be incomplete or still in progress.

    Writes `compare.html`, one page that needs no other file, and `compare.svg`, a picture of its main charts, into
    `output_dir`; logs the results and both paths, and returns that of the page. `megabytes` limits the pictures of the page.
    Of runs with several variables the scores and panels of a `variable` are shown, or with None the scores of all together. Uses
    no network.

    Raises:
        UserError: no folder, or one that is no run; no positive size.
    """
    if not megabytes > 0:
        raise UserError(f"megabytes={megabytes}: expected a positive size of the page, such as megabytes=18")
    read = read_runs(find_run_folders([runs] if isinstance(runs, str) else runs), variable)
    ranked = rankings(read)
    panels = collect_panels(read, megabytes * MEGABYTE)
    page_path, picture_path = (Path(output_dir) / name for name in ("compare.html", "compare.svg"))
    write_text(page_path, page(read, ranked, panels, datetime.now()))
    write_text(picture_path, picture(ranked))
    log.info("%s\n", text_report(read, ranked))
    log.info("page:    %s (%.1f MB)", page_path, page_path.stat().st_size / MEGABYTE)
    log.info("picture: %s", picture_path)
    return page_path


def page(runs: Sequence[Run], ranked: Sequence[Ranking], panels: Panels, created: datetime) -> str:
    """The whole page as HTML. All text that comes from runs is escaped."""
    return TEMPLATES.get_template("page.html.jinja").render(
        created=f"{created:%Y-%m-%d %H:%M}",
        runs=runs,
        groups=[(one, chart_data(one)) for one in ranked],
        scores=SCORES,
        labels={"score": SCORE_LABELS, "distance": DISTANCES},
        differing=differing(runs),
        panels=panels,
        variant_labels={run.name: {v.name: v.label for v in run.variants} for run in runs},
        shown_first=shown_first(ranked, panels),
        number=number,
        questions=QUESTIONS,
    )


def chart_data(one: Ranking) -> list[dict[str, Any]]:
    """Charts and table of each score and distance of a group."""
    shown = []
    for name, label in (SCORE_LABELS | DISTANCES).items():
        is_score = name in SCORE_LABELS
        y_label = name.upper() if is_score else label
        lines = step_lines(one, name)
        charts = [chart(f"{label} by step", STEPS, y_label, lines)]
        if is_score:
            lives = half_life_lines(one, name)
            charts.append(chart(f"Best {label} by half-life", HALF_LIFE, y_label, lives, log_x=True))
        shown.append(
            {
                "name": name,
                "kind": "score" if is_score else "distance",
                "label": label,
                "lines": lines,
                "charts": charts,
                "steps": sorted({point.x for line in lines for point in line.points}),
                "rows": [(line.label, {point.x: point.y for point in line.points}) for line in lines],
            }
        )
    return shown


def shown_first(ranked: Sequence[Ranking], panels: Panels) -> list[tuple[str, str]]:
    """Run and variant of the left and of the right panel: the standard weights and the best average of the best run."""
    for entry in (entry for one in ranked for entry in one.entries):
        if entry.variant.name != STANDARD and entry.variant.name in panels.places.get(entry.run.name, {}):
            return [(entry.run.name, STANDARD), (entry.run.name, entry.variant.name)]
    some = [(run, variant) for run, variants in panels.places.items() for variant in variants]
    return [some[0], some[-1]] if some else []


def number(value: float | None) -> str:
    """Four significant digits; a dash where there is no number."""
    if value is None:
        return "–"
    return f"{value:.4g}" if math.isfinite(value) else str(value)


def picture(ranked: Sequence[Ranking]) -> str:
    """The largest group as SVG: conclusion, MSE by step and by half-life, relative distance, and a legend."""
    title = ["No run has scored a reconstruction yet"]
    charts: dict[str, str] = {}
    lines: list[Line] = []
    if ranked:
        first, mse, relative = ranked[0], SCORE_LABELS["mse"], DISTANCES["relative_rms"]
        title = textwrap.wrap(first.conclusion, LETTERS_PER_LINE)
        if len(ranked) > 1:
            title.append(f"This is group 1 of {len(ranked)}; scores of different groups do not compare.")
        lines = step_lines(first, "mse")
        lives, distances = half_life_lines(first, "mse"), step_lines(first, "relative_rms")
        charts = {
            "Validations, best ringed": chart("Validations", STEPS, mse, lines),
            "Best validation of each average": chart("Best validations", HALF_LIFE, mse, lives, log_x=True),
            "Distance from the standard weights": chart("Distance", STEPS, relative, distances),
        }
    top = 60 + 22 * len(title)
    return TEMPLATES.get_template("picture.svg.jinja").render(
        title=title,
        # A chart without values is a paragraph of HTML, which an SVG cannot show.
        charts=[(name, one if one.startswith("<svg") else "") for name, one in charts.items()],
        legend=lines[:LEGEND_ENTRIES],
        columns=LEGEND_COLUMNS,
        top=top,
        chart_width=WIDTH,
        chart_height=HEIGHT,
        legend_top=top + HEIGHT + 20,
        width=3 * (WIDTH + 20) + 20,
        height=top + HEIGHT + 40 + 20 * math.ceil(len(lines[:LEGEND_ENTRIES]) / LEGEND_COLUMNS),
    )
