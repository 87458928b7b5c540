"""Lines of the methods in the figures of an evaluation."""

from __future__ import annotations

from typing import Any

from depthdif.evaluation.result import CLIMATOLOGY, IDW, MODEL, OI, TRAINING_MEAN, Method
from depthdif.figures.axes import FURTHER_COLOUR, OI_COLOUR, VARIANT_COLOURS

COLOURS = {TRAINING_MEAN.name: "0.55", CLIMATOLOGY.name: "#56B4E9", IDW.name: "#009E73", OI.name: OI_COLOUR}


def style(method: Method) -> dict[str, Any]:
    """Line of a method: a colour for the weights, solid for a mean and dashed for single samples."""
    if method.name != MODEL:
        return {"color": COLOURS[method.name], "linestyle": "-", "label": method.label}
    colour = VARIANT_COLOURS.get(method.weights, FURTHER_COLOUR)
    return {"color": colour, "linestyle": "-" if method.members > 1 else (0, (4, 2)), "label": method.label}
