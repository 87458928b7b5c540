"""How the figures of an evaluation look: colours of Okabe & Ito (2008), which colour-blind readers tell apart."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from depthdif.evaluation.result import IDW, MODEL, OI, TRAINING_MEAN, Method

TRUTH_COLOUR = "black"
COLOURS = {TRAINING_MEAN.name: "0.55", IDW.name: "#009E73", OI.name: "#0072B2"}
WEIGHTS_COLOURS = {"ema": "#D55E00", "standard": "#E69F00"}
FURTHER_COLOUR = "#CC79A7"


def style(method: Method) -> dict[str, Any]:
    """Line of a method: a colour for the weights, solid for a mean and dashed for single samples."""
    if method.name != MODEL:
        return {"color": COLOURS[method.name], "linestyle": "-", "label": method.label}
    colour = WEIGHTS_COLOURS.get(method.weights, FURTHER_COLOUR)
    return {"color": colour, "linestyle": "-" if method.members > 1 else (0, (4, 2)), "label": method.label}


def plain_ticks(axis: Any) -> None:
    """1, 2 and 5 of each decade, as they are, on a logarithmic axis."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def titled(figure: Figure, title: str) -> Figure:
    """The figure under its title."""
    figure.suptitle(title, fontsize=9)
    return figure


def squared(units: str) -> str:
    """Such as `°C²` or `(kg m-3)²`."""
    return f"({units})²" if " " in units else f"{units}²"
