"""Scores of a mini-batch as training logs them: of all variables together, and of each."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from depthdif.data.datamodule import OceanDataModule
from depthdif.data.variables import channels_of, deviation, part_of_batch
from depthdif.diffusion.ensemble import Ensemble
from depthdif.diffusion.reconstruction import score_ensemble, score_first_guess
from depthdif.scores.score_names import scores_together


def score_variables(
    data: OceanDataModule, batch: Mapping[str, Tensor], ensemble: Ensemble | None = None
) -> dict[str, dict[str, float]]:
    """Scores of an ensemble, or with None of the first guess, by variable.

    Those of all variables together are at "" (`scores_together`); those of each by its name where there are several.
    """
    scores, deviations = {}, {}
    for number, variable in enumerate(data.variables):
        channels = channels_of(number, len(data.depths))
        part, standardization = part_of_batch(batch, channels), data.standardization.part(channels)
        deviations[variable.name] = deviation(standardization.std)
        if ensemble is None:
            scores[variable.name] = score_first_guess(part, standardization)
        else:
            scores[variable.name] = score_ensemble(ensemble.part(channels), part, standardization)
    return {"": scores_together(scores, deviations), **(scores if len(scores) > 1 else {})}
