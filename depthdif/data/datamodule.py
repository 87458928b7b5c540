"""The data of a run: regions, statistics, and batches that repeat exactly for a seed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from pytorch_lightning.utilities import rank_zero_info
from torch.utils.data import DataLoader

from depthdif import UserError, check_integer
from depthdif.data.anomalies import SimulatedAnomalies
from depthdif.data.augmentation import Mirrors
from depthdif.data.coast import coast_distance as measure_coast_distance
from depthdif.data.compatibility import check_trained_on, describe_data
from depthdif.data.dataset import (
    VALIDATION_LAYOUT,
    Batch,
    Conditioner,
    FixedPatches,
    PatchCutter,
    Sample,
    TrainingPatches,
    collate,
    with_first_guess,
)
from depthdif.data.field import OceanField, open_field
from depthdif.data.loading import DrawSampler, Position, ResumableLoader, SharedBatches, loader_options
from depthdif.data.normalization import Standardization
from depthdif.data.observed import field_of_observations
from depthdif.data.patches import Patch, PatchSet, Region, as_patch_size, consecutive_times, read_patch
from depthdif.data.profiles import ProfileSampler
from depthdif.data.sparse import MaskedToProfiles, check_sparse, has_hidden_profiles
from depthdif.data.statistics import MEASURED_DRAWS, TrainingStatistics, measure_statistics
from depthdif.data.surface_dropout import check_missing, dropout_of
from depthdif.data.variables import Variable
from depthdif.first_guess.climatology_fit import ClimatologyFit
from depthdif.first_guess.protocol import FirstGuess, PatchData
from depthdif.observations.quality import Quality

# Patches that are looked at, for each validation patch of a sparse field.
_SPARSE_TRIES = 8


class OceanDataModule(LightningDataModule):
    """Random training patches and a fixed validation set of an ocean field.

    Args:
        field: target and surface variables.
        validation: `Box` or `TimeRange`; no training patch overlaps it.
        training: region to train on; None is the complement of `validation`.
        first_guess: estimate of the dense field; None for none. It is computed for a batch on the device that trains: on a CPU
            where the batch is loaded, which are the workers, elsewhere once the batch has been transferred.
        profiles: how training patches are observed; validation differs in the density alone.
        augmentation: applied to training patches; None for none.
        masked_to: masks the field to profiles before anything else sees it; None for not.
        climatology: how the climatology of the training times is measured; None for none.
        climatology_field: on the same grid, whose climatology is measured, at all its times; None is that of the training times.
        anomalies: added to training and validation patches, where the field is a climatology; None for none.
        surface_dropout: probability that a surface variable, with all its offsets, is missing in a training sample; one number,
            or one for each variable. Statistics are measured without it, but for those of the residual.
        surface_missing: surface variables that are missing in validation, to score a model without them.
        coast_distance: whether samples hold the distance of their cells from land.
        patches_per_epoch: rounded down to whole batches; it and the other numbers are explained in conf/data_shared.yaml.

    Attributes:
        collate: makes a batch of samples, with the first guess.
        validates_new_region: whether the validation region is a part of the field at all times, not all of it at some times.

    Raises:
        UserError: a value out of range, regions that overlap or have no ocean or no patch, or fewer distinct
            validation patches than `validation_patches`.
    """

    def __init__(
        self,
        field: OceanField,
        validation: Region,
        training: Region | None = None,
        first_guess: FirstGuess | None = None,
        profiles: ProfileSampler | None = None,
        augmentation: Mirrors | None = None,
        climatology: ClimatologyFit | None = None,
        anomalies: SimulatedAnomalies | None = None,
        climatology_field: OceanField | None = None,
        masked_to: MaskedToProfiles | None = None,
        surface_dropout: float | Sequence[float] = 0.0,
        surface_missing: Sequence[str] = (),
        coast_distance: bool = False,
        validation_density: float = 0.05,
        patch_size: int | Sequence[int] = 32,
        min_ocean_fraction: float = 0.25,
        batch_size: int = 16,
        patches_per_epoch: int = 1024,
        validation_patches: int = 32,
        statistics_times: int = 32,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("patches_per_epoch", patches_per_epoch, 1),
            ("validation_patches", validation_patches, 1),
            ("statistics_times", statistics_times, 1),
            ("num_workers", num_workers, 0),
            ("seed", seed, 0),
        ):
            check_integer(f"data.{name}", value, least)
        if not 0 < validation_density <= 1:
            raise UserError(f"data.validation_density={validation_density}; expected a number in (0, 1]")
        self._profiles = profiles or ProfileSampler()
        if masked_to is not None:
            field = masked_to(field)
        if field.is_sparse:
            check_sparse(field, self._profiles, anomalies)
        surface = [str(array.name) for array in field.surface]
        self._surface_dropout = dropout_of(surface, surface_dropout)
        self._surface_missing = check_missing(surface, surface_missing)
        self.field = field
        self.patch_size = as_patch_size(patch_size)
        self.batch_size = batch_size
        self._patches_per_epoch = patches_per_epoch
        self._statistics_times = statistics_times
        self._num_workers = num_workers
        self._seed = seed
        self._first_guess = first_guess
        self.collate = functools.partial(collate, first_guess=first_guess)
        self._climatology_fit = climatology
        self._climatology_field = climatology_field
        self._augmentation = augmentation
        self._anomalies = anomalies
        self._coast_distance = measure_coast_distance(field) if coast_distance else None
        self._validation_density = validation_density
        validated = validation.select(field)
        self.validates_new_region = not validated.cells.all()
        self._region = validated.complement() if training is None else training.select(field)
        if self._region.overlaps(validated):
            raise UserError(
                "data.training and data.validation overlap; expected regions without a common cell: narrow "
                "one of them, or set data.training=null to train on everything outside data.validation"
            )
        # A climatology of other cells says nothing of these.
        self._untrained_cells = int((validated.cells & ~self._region.cells & field.surface_ocean_mask).sum())
        if climatology_field is None and anomalies is not None and self._untrained_cells:
            # Anomalies are added to a climatology, which is known everywhere.
            self._climatology_field = field
        self._training_patches = PatchSet(
            field, self._region, self.patch_size, min_ocean_fraction, "training"
        )
        possible = PatchSet(field, validated, self.patch_size, min_ocean_fraction, "validation")
        layout = np.random.default_rng([seed, VALIDATION_LAYOUT])
        self._validation_patches = self._validated(possible, validation_patches, layout)
        self._validation_times = validated.times
        self._statistics: TrainingStatistics | None = None
        self._resumed = Position()

    @classmethod
    def from_files(
        cls,
        path: str | Path | Sequence[str | Path],
        variable: str | Sequence[str] | None = None,
        surface: str | Sequence[str] = (),
        coordinates: Mapping[str, str] | None = None,
        max_depth: float | None = None,
        surface_offsets: Sequence[int] = (0,),
        in_memory: bool = False,
        periodic_longitude: float | None = None,
        **options: Any,
    ) -> OceanDataModule:
        """Open CF files (see `open_field`) and build the data module with the remaining options.

        `in_memory` reads the whole field once, which is worth it whenever it fits.
        """
        field = open_field(
            path, variable, surface, coordinates, max_depth, surface_offsets, periodic_longitude
        )
        return cls(field.load() if in_memory else field, **options)

    @classmethod
    def from_observations(
        cls,
        path: str | Path | Sequence[str | Path],
        observations: str | Sequence[str],
        start: str,
        stop: str,
        every: int = 10,
        quality: Quality | None = None,
        columns: Mapping[str, str] | None = None,
        level_tolerance: float = 0.0,
        standard_name: str | Sequence[str] | None = None,
        variable: str | Sequence[str] | None = None,
        coordinates: Mapping[str, str] | None = None,
        max_depth: float | None = None,
        periodic_longitude: float | None = None,
        **options: Any,
    ) -> OceanDataModule:
        """Real profiles (see `field_of_observations`) on the grid of CF files, whose climatology is that of the data.

        The remaining options are those of the data module.
        """
        product = open_field(
            path, variable, (), coordinates, max_depth, periodic_longitude=periodic_longitude
        )
        field = field_of_observations(
            product, observations, start, stop, every, quality, columns, level_tolerance, standard_name
        )
        return cls(field, climatology_field=product, **options)

    @property
    def depths(self) -> np.ndarray:
        """(D,) float64, metres below the surface."""
        return self.field.depths

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The target variables."""
        return self.field.variables

    @property
    def channels(self) -> int:
        """C, the depths of all variables: those of the first one come first."""
        return self.field.channels

    @property
    def surface_channels(self) -> int:
        """Number of surface channels: of each variable at each offset."""
        return len(self.field.surface_names)

    @property
    def statistics(self) -> TrainingStatistics:
        """Of the training region; available after `setup` or `load_state_dict`."""
        if self._statistics is None:
            raise RuntimeError("the statistics are not known yet; call setup() first")
        return self._statistics

    @property
    def standardization(self) -> Standardization:
        """Of the channels of the target; available like `statistics`."""
        return self.statistics.standardization

    def setup(self, stage: str | None = None) -> None:
        """Measure statistics and climatology of the training region, unless they were loaded from a checkpoint.

        Raises:
            UserError: a depth or surface variable never defined there, values that look like an undeclared
                fill value, a climatology that the training region does not determine, or a validation patch that is
                missing at its time.
        """
        if self._statistics is None:
            if (
                self._climatology_fit is not None
                and self._climatology_field is None
                and self._untrained_cells
            ):
                raise UserError(
                    f"data.climatology is set, but {self._untrained_cells} ocean cells of the validation region have no "
                    "training data: set data/climatology=none model.first_guess.background=mean_profile, or "
                    "data/validation=time_range"
                )
            self._statistics = measure_statistics(
                self.field,
                self._region,
                self._statistics_times,
                self._climatology_fit,
                self._first_guess,
                self._training_samples,
                self._climatology_field,
            )
        cutter = self._cutter(self.statistics.conditioner())
        for patch in self._validation_patches:
            if not cutter.is_usable(cutter.read(patch)):
                raise UserError(
                    f"{self.field.variable!r} is missing in a validation patch at "
                    f"{self.field.times[patch.time]}; leave that time out of data.path, or choose another "
                    "data.validation or data.seed"
                )

    def train_dataloader(self) -> DataLoader[Sample]:
        """Training batches, starting after the draws that were trained on."""
        rank, ranks = self._place()
        whole = self.batch_size * ranks
        length = self._patches_per_epoch // whole * whole
        if not length:
            raise UserError(
                f"data.patches_per_epoch={self._patches_per_epoch} is less than one batch of "
                f"{self.batch_size} on each of {ranks} devices; set data.patches_per_epoch={whole} or more"
            )
        if self._resumed.batch_size not in (None, whole):
            rank_zero_info(
                f"a batch has {whole} patches ({self.batch_size} on each of {ranks} devices), in the resumed run it had "
                f"{self._resumed.batch_size}; draws go on after {self._resumed.draws}, the learning rate stays"
            )
        dataset = self._training_samples(self.statistics.conditioner(), length)
        sampler = DrawSampler(length, lambda: self._position().draws, rank, ranks)
        return ResumableLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            **self._loader_options(),
        )

    def val_dataloader(self) -> DataLoader[Sample]:
        """The fixed validation set, in a fixed order; of every batch the part of this process."""
        dataset = self.validation_samples()
        sampler = SharedBatches(len(dataset), self.batch_size, *self._place())
        return DataLoader(
            dataset,
            batch_size=sampler.part_size,
            sampler=sampler,
            **self._loader_options(),
        )

    def validation_samples(self, density: float | None = None) -> FixedPatches:
        """The fixed validation set as samples, observed with the configured density or another one."""
        density = self._validation_density if density is None else density
        profiles = dataclasses.replace(self._profiles, density=density)
        cutter = self._cutter(self.statistics.conditioner())
        return FixedPatches(self._validation_patches, profiles, cutter, self._seed, self._surface_missing)

    def consecutive_samples(self, number: int, count: int) -> FixedPatches | None:
        """Validation patch `number` at `count` neighbouring times of the validation region, each with profiles of its own.

        None where the region has fewer times next to each other, or the field is missing at one of them.
        """
        patch = self._validation_patches[number]
        times = consecutive_times(self._validation_times, patch.time, count)
        patches = [dataclasses.replace(patch, time=time) for time in times or ()]
        fields = (read_patch(self.field, each, self.patch_size)[0] for each in patches)
        if not patches or not all(np.isfinite(field).any() for field in fields):
            return None
        return dataclasses.replace(self.validation_samples(), patches=patches)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move a batch and make its first guess there unless it has one; nothing waits for the device.

        `index` stays where it is: it seeds draws, for which it is read.
        """
        moved = super().transfer_batch_to_device(batch, device, dataloader_idx)
        moved = {**moved, "index": batch["index"]}
        if self._first_guess is None or "first_guess" in batch:
            return moved
        return with_first_guess(moved, PatchData.from_batch(batch).in_batch(moved), self._first_guess)

    def predict_dataloader(self) -> DataLoader[Sample]:
        """The validation set, for `trainer.predict(module, datamodule=data)`."""
        return DataLoader(
            self.validation_samples(),
            batch_size=self.batch_size,
            **self._loader_options(),
        )

    def state_dict(self) -> dict[str, Any]:
        """Statistics and description of the data, for prediction, and the position of the draws, for training.

        Safe for torch.load(weights_only=True).
        """
        return {
            **describe_data(self.field, self._first_guess),
            "patch_size": list(self.patch_size),
            "time_step": self.field.time_step,
            "position": dataclasses.asdict(self._position()),
            **self.statistics.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state of a checkpoint; UserError where it was trained on other data, see `check_trained_on`."""
        check_trained_on(state_dict, describe_data(self.field, self._first_guess))
        self._resumed = Position(**state_dict.get("position", {}))
        self._statistics = TrainingStatistics.from_state_dict(state_dict)

    def _training_samples(
        self, conditioner: Conditioner, length: int = MEASURED_DRAWS, dropout: bool = True
    ) -> TrainingPatches:
        cutter = self._cutter(conditioner)
        return TrainingPatches(
            self._training_patches,
            self._profiles,
            cutter,
            length,
            self._seed,
            self._augmentation,
            self._surface_dropout if dropout else {},
        )

    def _validated(self, possible: PatchSet, count: int, generator: np.random.Generator) -> list[Patch]:
        """The validation patches; of a sparse field those alone of which profiles can be shown and withheld."""
        if not self.field.is_sparse:
            return possible.spread(count, generator)
        more = possible.spread(min(len(possible), _SPARSE_TRIES * count), generator)
        usable = [
            patch
            for patch in more
            if has_hidden_profiles(
                read_patch(self.field, patch, self.patch_size)[0], self._validation_density
            )
        ]
        if len(usable) < count:
            raise UserError(
                f"{len(usable)} of {len(more)} patches of the validation region have profiles to show and withhold, fewer than "
                f"data.validation_patches={count}; set fewer, larger patches, or a smaller data.validation_density="
                f"{self._validation_density}"
            )
        return usable[:count]

    def _cutter(self, conditioner: Conditioner) -> PatchCutter:
        return PatchCutter(self.field, self.patch_size, conditioner, self._anomalies, self._coast_distance)

    def _place(self) -> tuple[int, int]:
        """Rank of this process, and number of processes."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _position(self) -> Position:
        # `processed` is right at any moment: when an epoch begins, and for a checkpoint written between batches,
        # in a callback at the end of a batch, or after an exception within one.
        if self.trainer is None:
            return self._resumed
        batches = self.trainer.fit_loop.epoch_loop.batch_progress.total.processed  # type: ignore[attr-defined]
        return self._resumed.after(batches, self.batch_size * self._place()[1])

    def _loader_options(self) -> dict[str, Any]:
        on_cpu = self.trainer is None or self.trainer.strategy.root_device.type == "cpu"
        return loader_options(self._num_workers, self._seed, self.collate if on_cpu else collate)
