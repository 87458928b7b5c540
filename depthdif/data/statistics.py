"""What is measured over the training region and travels in the checkpoint: all that prediction needs beside the weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from depthdif.data.dataset import Batch, Conditioner, Sample, collate
from depthdif.data.field import OceanField
from depthdif.data.normalization import ResidualStatistics, Standardization, measure, residual_statistics
from depthdif.data.patches import Selection
from depthdif.first_guess.climatology import Climatology
from depthdif.first_guess.climatology_fit import ClimatologyFit
from depthdif.first_guess.optimal_interpolation import OptimalInterpolation
from depthdif.first_guess.protocol import FirstGuess
from depthdif.first_guess.regressions import Regressions, measure_regressions

# Training draws that the statistics of a first guess are measured on, and how many at a time, which bounds the memory.
MEASURED_DRAWS, _MEASURED_TOGETHER = 128, 16


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingStatistics:
    """Statistics of the training region; the names of the attributes are keys of the state of the data module.

    Attributes:
        standardization, surface_standardization: of the channels of the target and of the surface.
        domain: what positions are measured by (`OceanField.domain`).
        climatology: of target and surface channels, in this order; None where none was asked for.
        regressions: of the first guess; None where it uses none.
        residual: of the first guess; None without one.
    """

    standardization: Standardization
    surface_standardization: Standardization
    domain: dict[str, float]
    climatology: Climatology | None = None
    regressions: Regressions | None = None
    residual: ResidualStatistics | None = None

    def conditioner(self) -> Conditioner:
        """The function from physical units to the conditions of a patch."""
        return Conditioner(
            self.standardization, self.surface_standardization, self.climatology, self.regressions
        )

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors, which torch.load(weights_only=True) reads."""
        return {
            "standardization": self.standardization.state_dict(),
            "surface_standardization": self.surface_standardization.state_dict(),
            "domain": self.domain,
            "climatology": self.climatology and _as_tensors(vars(self.climatology)),
            "regressions": self.regressions and _as_tensors(vars(self.regressions)),
            "residual": self.residual and dataclasses.asdict(self.residual),
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> TrainingStatistics:
        """The inverse of `state_dict`; arrays may also be lists, as JSON holds them, and other keys are ignored."""
        climatology, regressions, residual = (
            state[name] for name in ("climatology", "regressions", "residual")
        )
        return cls(
            Standardization.from_state_dict(state["standardization"]),
            Standardization.from_state_dict(state["surface_standardization"]),
            state["domain"],
            climatology and Climatology.from_state(climatology),
            regressions and Regressions.from_state(regressions),
            residual and ResidualStatistics(**residual),
        )


def measure_statistics(
    field: OceanField,
    region: Selection,
    max_times: int,
    climatology_fit: ClimatologyFit | None,
    first_guess: FirstGuess | None,
    samples: Callable[..., Dataset[Sample]],
    climatology_field: OceanField | None = None,
) -> TrainingStatistics:
    """Measure a training region; `samples` makes the same training samples with any conditioner, and with `dropout=False` all
    surface variables.

    The climatology is that of the training region, or of a `climatology_field` on the same grid at all its times.

    Mean and standard deviation are of at most `max_times` times, regressions and residual of the first `MEASURED_DRAWS` samples.

    Raises:
        UserError: a depth or surface variable never defined there, values that look like an undeclared fill value, or a
            climatology that the region does not determine.
    """
    offsets = len(field.surface_offsets)
    surface = [measure(array, region, max_times) for array in field.surface]
    climatology = None
    if climatology_fit is not None:
        known, where = field, region
        if climatology_field is not None:
            known, where = climatology_field, _everywhere(climatology_field)
        climatology = climatology_fit((*known.targets, *field.surface * offsets), where, field.wraps)
    statistics = TrainingStatistics(
        Standardization.join([measure(array, region, max_times) for array in field.targets]),
        Standardization.join(surface * offsets),
        field.domain(),
        climatology,
    )
    # Each step sees the samples with what the ones before it have measured.
    if isinstance(first_guess, OptimalInterpolation) and first_guess.regressions:
        plain = samples(statistics.conditioner(), dropout=False)
        apart = 1 if first_guess.cross_covariance else len(field.targets)
        regressions = measure_regressions(lambda: _batches(plain), first_guess.background, apart)
        statistics = dataclasses.replace(statistics, regressions=regressions)
    if first_guess is not None:
        batches = _batches(samples(statistics.conditioner()), first_guess)
        residual = residual_statistics(batches, len(field.targets), unobserved=field.is_sparse)
        statistics = dataclasses.replace(statistics, residual=residual)
    return statistics


def _everywhere(field: OceanField) -> Selection:
    return Selection(np.ones(len(field.times), bool), np.ones(field.target.shape[2:], bool))


def _batches(samples: Dataset[Sample], first_guess: FirstGuess | None = None) -> Iterator[Batch]:
    for first in range(0, MEASURED_DRAWS, _MEASURED_TOGETHER):
        yield collate([samples[first + n] for n in range(_MEASURED_TOGETHER)], first_guess)


def _as_tensors(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in attributes.items()
    }
