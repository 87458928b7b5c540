"""The prediction of one time after the other, as a LightningModule: the trainer shares the times among its devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.nn import ModuleDict
from torch.utils.data import DataLoader, TensorDataset

from depthdif.data.dataset import Batch, with_first_guess
from depthdif.diffusion.ensemble import Ensemble
from depthdif.diffusion.module import DiffusionModule
from depthdif.diffusion.reconstruction import reconstruct
from depthdif.diffusion.tiles import TiledRegion
from depthdif.evaluation.result import CLIMATOLOGY, MODEL, TRAINING_MEAN, Method
from depthdif.evaluation.tally import GaussianForecast
from depthdif.first_guess.protocol import FirstGuess, PatchData
from depthdif.prediction.inputs import PredictionInputs
from depthdif.prediction.store import PredictionStore
from depthdif.prediction.withheld import Forecast, hidden_values


class Predictor(LightningModule):
    """Predicts the times of some inputs, and writes each to a store when it is computed.

    Args:
        models: with the weights of each variant, by its name.
        first_guess: that of the models, for the whole region, and its name; None for models without one.
        compared: further first guesses, which are scored at the hidden profiles.
        open_store: opens the store, which exists already.
        region: how it is sampled.
        precision: of the network.
    """

    def __init__(
        self,
        models: Mapping[str, DiffusionModule],
        first_guess: tuple[Method, FirstGuess] | None,
        compared: Mapping[Method, FirstGuess],
        inputs: PredictionInputs,
        open_store: Callable[[], PredictionStore],
        region: TiledRegion,
        precision: str,
    ) -> None:
        super().__init__()
        self.models = ModuleDict({_key(variant): model for variant, model in models.items()})
        self.variants = list(models)
        self.first_guess, self.compared, self.inputs = first_guess, compared, inputs
        self.open_store, self.region, self.precision = open_store, region, precision

    def setup(self, stage: str) -> None:
        """Open the store in each process, before any time is written."""
        self.store = self.open_store()
        self.trainer.strategy.barrier("store opened")

    def predict_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """The numbers of the times that are not finished, one a batch; each process gets a part of them."""
        return DataLoader(TensorDataset(torch.from_numpy(np.flatnonzero(~self.store.finished))))

    def on_predict_end(self) -> None:
        """Wait until all processes have written their times."""
        self.trainer.strategy.barrier("all times written")

    def predict_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Predict the time of one number, and write it."""
        number = int(batch[0])
        plan, hidden = self.store.plan, self.inputs.hidden_at(number)
        observed = self.inputs.observed_at(number)
        conditions, fields = self.inputs.batch(number, observed), plan.count_fields(observed.count)
        # Fields of a large region are made when they are needed, and not kept.
        del observed
        baselines: dict[Method, Forecast] = {}
        if len(hidden):
            baselines = self.backgrounds(conditions) | {
                method: self.forecast(self.with_first_guess(conditions, each))
                for method, each in self.compared.items()
            }
        if self.first_guess is not None:
            conditions = self.with_first_guess(conditions, self.first_guess[1])
        ensembles: dict[Method, Forecast] = {}
        for variant in self.variants:
            model = cast(DiffusionModule, self.models[_key(variant)])
            ensemble = reconstruct(
                model, conditions, self.inputs.standardization, self.precision, self.region
            )
            self.check_finite(ensemble, variant, number)
            fields |= plan.ensemble_fields(ensemble, variant)
            if len(hidden):
                ensembles[Method(MODEL, variant, ensemble.members.shape[1])] = ensemble
            del ensemble
        if self.first_guess is not None:
            forecast = self.forecast(conditions)
            baselines[self.first_guess[0]] = forecast
            fields |= plan.first_guess_fields(forecast.mean[0], cast(np.ndarray, forecast.deviation)[0])
        if len(hidden):
            place = self.inputs.cells(hidden.profiles)
            ocean, time = self.inputs.grid.ocean_mask, self.inputs.times[number]
            values = hidden_values(hidden.profiles, hidden.values, place, ocean, time, baselines | ensembles)
            values.save(self.store.extra(number))
        self.store.write(number, fields)

    def backgrounds(self, batch: Batch) -> dict[Method, Forecast]:
        """The climatology, or without one the mean of the training."""
        method = CLIMATOLOGY if "background" in batch else TRAINING_MEAN
        values = (
            batch["background"].numpy()
            if "background" in batch
            else np.zeros(batch["ocean_mask"].shape, np.float32)
        )
        return {method: GaussianForecast(self.inputs.standardization.restore(values))}

    def with_first_guess(self, batch: Batch, first_guess: FirstGuess) -> Batch:
        """The batch with a first guess of the whole region."""
        return with_first_guess(batch, PatchData.from_batch(batch), first_guess)

    def forecast(self, batch: Batch) -> GaussianForecast:
        """The first guess of a batch and its error, in units of the field."""
        statistics = self.inputs.standardization
        std = statistics.std.astype(np.float32)[:, None, None]
        mean = statistics.restore(batch["first_guess"].numpy(force=True))
        return GaussianForecast(mean, batch["first_guess_error"].numpy(force=True) * std)

    def check_finite(self, ensemble: Ensemble, variant: str, number: int) -> None:
        """Raise ValueError where a member is not finite in the ocean."""
        if not ensemble.is_finite(self.inputs.grid.ocean_mask[None]):
            raise ValueError(
                f"the {variant} weights predict values that are not finite at {self.inputs.times[number]}; set weights=ema, or "
                "precision=32-true"
            )


def _key(variant: str) -> str:
    # Names of submodules hold no dots, as in ema_0.99.
    return variant.replace(".", "_")
