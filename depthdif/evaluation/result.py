"""The result of an evaluation: the methods that are compared, and their scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthdif.evaluation.followed import Followed
from depthdif.evaluation.tally import Tally
from depthdif.figures.case import Case
from depthdif.scores.density import Inversions
from depthdif.scores.score import (
    WEIGHTED,
    Scores,
    Sums,
    over_depths,
    scores_of_columns,
    scores_with_intervals,
)
from depthdif.scores.score_names import variant_label

Array = NDArray[np.floating]

MODEL = "model"


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Attributes:
        name: "training mean", "climatology", "IDW", "OI", or "model".
        weights: variant of the model, "standard", "ema" or "ema_0.99"; empty for other methods.
        members: samples whose mean is the estimate; 1 for a single one.
    """

    name: str
    weights: str = ""
    members: int = 1

    @property
    def estimate(self) -> str:
        """The estimate of the model, "one sample" or "mean of 8"; empty for other methods."""
        if self.name != MODEL:
            return ""
        return "one sample" if self.members == 1 else f"mean of {self.members}"

    @property
    def label(self) -> str:
        """Label in tables and figures: "OI", "EMA, mean of 8"."""
        return f"{variant_label(self.weights)}, {self.estimate}" if self.name == MODEL else self.name

    @property
    def columns(self) -> dict[str, str]:
        """The columns of a CSV file that identify the method."""
        return {"method": self.name, "weights": self.weights, "estimate": self.estimate}


TRAINING_MEAN, CLIMATOLOGY, IDW, OI = (Method(name) for name in ("training mean", "climatology", "IDW", "OI"))
TRUTH = Method("truth")


@dataclass(eq=False)
class Evaluation:
    """The result, from which table, files and figures are made.

    Attributes:
        tallies: of each method, in the order of the table.
        truth: spectra and gradients of the truth.
        counts: (S, P) of `resample_counts`.
        density: scores of each method by the share of observed columns.
        chosen: variant of the density curve and of the case; "" when none could be scored.
        case: one patch, by the name of the estimate.
        followed: the same patch at consecutive times; None without them.
        depths: (D,) metres.
        panel_levels: levels of the case and of the spectra.
        variable: name of the variable.
        units: of it, as displayed.
        inversions: density inversions of each method and of the truth, where temperature and salinity were evaluated.
        provenance: everything that a repetition needs.
    """

    tallies: Mapping[Method, Tally]
    truth: Tally
    counts: Array
    density: Mapping[float, Mapping[Method, Scores]]
    chosen: str
    case: Mapping[str, Case]
    followed: Followed | None
    depths: Array
    panel_levels: list[int]
    variable: str
    units: str
    inversions: Mapping[Method, Inversions]
    provenance: Mapping[str, Any]

    @property
    def patches(self) -> int:
        """Number of patches scored."""
        return self.counts.shape[1]

    @property
    def best(self) -> Method | None:
        """The mean of most samples with the chosen variant; None where no variant was scored."""
        return best_method(self.tallies, self.chosen)

    @cached_property
    def overall(self) -> dict[Method, Scores]:
        """Scores over all depths."""
        return scores_over_depths(self.tallies, self.counts)

    @cached_property
    def by_depth(self) -> dict[Method, list[Scores]]:
        """Scores of each depth, those of the scales too."""
        of_cells = scores_of_tallies(self.tallies, self.counts, lambda sums: sums)
        of_scales = scale_scores(self.tallies, self.truth, self.counts)
        for method, levels in of_scales.items():
            of_cells[method] = [first | then for first, then in zip(of_cells[method], levels, strict=True)]
        return of_cells


def best_method(tallies: Mapping[Method, Tally], variant: str) -> Method | None:
    """The mean of most samples with a variant; None where the variant was not scored."""
    candidates = [method for method in tallies if method.name == MODEL and method.weights == variant]
    return max(candidates, key=lambda method: method.members, default=None)


def scores_over_depths(tallies: Mapping[Method, Tally], counts: Array) -> dict[Method, Scores]:
    """Scores of each method over all depths."""
    return {method: scores for method, (scores,) in scores_of_tallies(tallies, counts, over_depths).items()}


def scores_of_tallies(
    tallies: Mapping[Method, Tally], counts: Array, depths: Callable[[Sums], Sums]
) -> dict[Method, list[Scores]]:
    """Scores of each method, those in which all cells count alike and the weighted ones, with `depths` applied to the sums."""
    alike = compare({method: depths(tally.sums) for method, tally in tallies.items()}, counts)
    weighted = compare({method: depths(tally.weighted_sums) for method, tally in tallies.items()}, counts)
    return {
        method: [
            scores | {f"{name}{WEIGHTED}": score for name, score in others.items()}
            for scores, others in zip(alike[method], weighted[method], strict=True)
        ]
        for method in tallies
    }


def compare(sums: Mapping[Method, Sums], counts: Array) -> dict[Method, list[Scores]]:
    """Scores of each method, with ratios to OI where there is one."""
    return {
        method: scores_with_intervals(method_sums, sums.get(OI), counts)
        for method, method_sums in sums.items()
    }


def scale_scores(tallies: Mapping[Method, Tally], truth: Tally, counts: Array) -> dict[Method, list[Scores]]:
    """Effective resolution and power at small scales of each method at each depth, resolutions with their ratio to OI."""
    patches = counts.shape[1]
    values, resampled = (
        {method: tally.structure.scale_scores(truth.structure, weights) for method, tally in tallies.items()}
        for weights in (np.ones((1, patches)), counts)
    )
    for scores in (values, resampled):
        if "resolution" in scores.get(OI, {}):
            for of_method in scores.values():
                of_method["resolution_ratio"] = of_method["resolution"] / scores[OI]["resolution"]
    return {
        method: scores_of_columns(scores, resampled[method], patches)
        for method, scores in values.items()
        if scores
    }
