"""What a model is compared with: the training mean profile, inverse distance weighting and optimal interpolation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from hydra.utils import instantiate
from torch import Tensor

from depthdif.data.dataset import Sample
from depthdif.data.normalization import Standardization
from depthdif.evaluation.forecast import GaussianForecast
from depthdif.evaluation.result import IDW, OI, Method
from depthdif.first_guess.fit import arguments
from depthdif.first_guess.protocol import FirstGuess

METHODS = {"idw": IDW, "oi": OI}

Say = Callable[[str], None]


def make_baselines(
    configs: Mapping[str, Any], own: FirstGuess | None, sample: Sample, say: Say
) -> dict[Method, FirstGuess]:
    """The first guesses to compare with: that of the run for its kind, which was fitted to these data, else the configured one.

    One that cannot be made for these data (it was fitted to other surface fields) is left out, and `say` tells why.

    Args:
        configs: of the baselines, `idw` and `oi`.
        own: first guess that the run was trained with, if any.
        sample: one patch to try them on.
        say: prints a line.
    """
    made: dict[Method, FirstGuess] = {}
    for name, config in configs.items():
        method = METHODS[name]
        configured: FirstGuess = instantiate(config)
        if type(own) is type(configured):
            assert own is not None
            made[method] = own
            if own != configured:
                say(
                    f"{method.label}: with the settings that the run was trained with, not those of baselines.{name}"
                )
            continue
        try:
            configured(*arguments(sample))
        except ValueError as error:
            say(f"{method.label} is left out, it cannot be made for these data: {error}")
            continue
        made[method] = configured
        if own is None:
            say(
                f"{method.label}: with the settings of baselines.{name}, because the run has no first guess; fit "
                f"others with python scripts/fit_first_guess.py model/first_guess={name}"
            )
    return made


def training_mean(batch: Mapping[str, Tensor], standardization: Standardization) -> GaussianForecast:
    """The mean profile of the training region: 0 in standardised units."""
    return GaussianForecast(standardization.restore(np.zeros_like(batch["target"].numpy())))


def first_guess_forecast(
    first_guess: FirstGuess, batch: Mapping[str, Tensor], standardization: Standardization
) -> GaussianForecast:
    """A first guess and its error as a Gaussian forecast, physical units."""
    samples = [
        {name: tensor[patch].numpy() for name, tensor in batch.items()}
        for patch in range(len(batch["target"]))
    ]
    pairs = [first_guess(*arguments(sample)) for sample in samples]
    guess, variance = (np.stack(parts) for parts in zip(*pairs, strict=True))
    deviation = np.sqrt(variance) * standardization.std.astype(np.float32)[:, None, None]
    return GaussianForecast(standardization.restore(guess), deviation)
