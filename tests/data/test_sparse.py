"""A field masked to profiles, and the data of a run on it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from depthdif import UserError
from depthdif.data.anomalies import SimulatedAnomalies
from depthdif.data.datamodule import OceanDataModule
from depthdif.data.patches import TimeRange
from depthdif.data.profiles import ProfileSampler
from depthdif.data.sparse import MaskedToProfiles, has_hidden_profiles
from depthdif.data.synthetic import synthetic_field
from depthdif.first_guess.inverse_distance import InverseDistance

FIELD = synthetic_field(times=4, depths=3, height=20, width=40, salinity=True)
MASKED = MaskedToProfiles(ProfileSampler(0.2, 0.3, variable_fraction=[1.0, 0.5]), seed=3)
SHOWN = ProfileSampler([0.3, 0.9], 0.0)


def data_of(**options: Any) -> OceanDataModule:
    chosen: dict[str, Any] = {
        "field": FIELD, "validation": TimeRange("2000-04", "2000-04"), "masked_to": MASKED, "profiles": SHOWN,
        "validation_density": 0.6, "patch_size": 8, "batch_size": 2, "patches_per_epoch": 4, "validation_patches": 4,
    }  # fmt: skip
    return OceanDataModule(**{**chosen, **options})


def test_a_masked_field_keeps_what_is_measured_and_the_surface() -> None:
    sparse = MASKED(FIELD)
    assert sparse.is_sparse
    assert [array.name for array in sparse.targets] == ["temperature", "salinity"]
    temperature, salinity = (array.values for array in sparse.targets)
    known = np.isfinite(temperature)
    np.testing.assert_array_equal(temperature[known], FIELD.target.values[known])
    columns = np.isfinite(FIELD.target.values).any(axis=1).sum(axis=(1, 2))
    np.testing.assert_array_equal(known.any(axis=1).sum(axis=(1, 2)), np.round(0.2 * columns))
    assert 0.3 < np.isfinite(salinity).any(axis=1).sum() / known.any(axis=1).sum() < 0.7
    np.testing.assert_array_equal(sparse.surface[0].values, FIELD.surface[0].values)
    assert sparse.ocean is not None
    np.testing.assert_array_equal(sparse.ocean[:3], np.isfinite(FIELD.target.values).any(axis=0))


def test_the_profiles_of_a_time_depend_on_the_seed_and_its_number_alone() -> None:
    again, shorter = MASKED(FIELD), MASKED(dataclasses.replace(
        FIELD, target=FIELD.target[:2], further=(FIELD.further[0][:2],), surface=(FIELD.surface[0][:2],)
    ))  # fmt: skip
    np.testing.assert_array_equal(again.target.values[:2], shorter.target.values)
    other = dataclasses.replace(MASKED, seed=4)(FIELD)
    assert (np.isfinite(other.target.values) != np.isfinite(again.target.values)).any()


def test_a_field_of_profiles_is_not_masked_again() -> None:
    with pytest.raises(UserError, match=r"holds profiles alone; set data/masked_to=none"):
        MASKED(MASKED(FIELD))


def test_no_value_that_was_not_measured_reaches_a_batch_or_the_statistics() -> None:
    poisoned = FIELD.target.copy(data=FIELD.target.values.copy())
    measured = np.isfinite(MASKED(FIELD).target.values)
    poisoned.values[~measured & np.isfinite(poisoned.values)] = 777.0
    clean, other = data_of(), data_of(field=dataclasses.replace(FIELD, target=poisoned))
    for data in (clean, other):
        data.setup("fit")
    assert str(clean.statistics.state_dict()) == str(other.statistics.state_dict())
    for loader in ("train_dataloader", "val_dataloader"):
        for first, second in zip(getattr(clean, loader)(), getattr(other, loader)(), strict=True):
            assert all(torch.equal(first[name], second[name]) for name in first)


def test_training_learns_from_all_measured_cells_and_validation_scores_those_withheld() -> None:
    data = data_of(first_guess=InverseDistance(1.0))
    data.setup("fit")
    for batch in data.train_dataloader():
        assert not (batch["observed_mask"] & ~batch["target_mask"]).any()
        assert (batch["target_mask"] & ~batch["observed_mask"]).any()
    for batch in data.val_dataloader():
        assert not (batch["observed_mask"] & batch["target_mask"]).any()
        assert batch["target_mask"].flatten(1).any(dim=1).all()
        assert batch["ocean_mask"].sum() > 2 * batch["target_mask"].sum()


def test_the_residual_of_a_sparse_field_is_that_of_the_hidden_cells() -> None:
    data = data_of(first_guess=InverseDistance(1.0))
    data.setup("fit")
    assert data.statistics.residual is not None
    # Where a profile is shown the interpolation has no error, which would make the residual small.
    samples = data._training_samples(data.statistics.conditioner(), 32)
    batch = next(iter(DataLoader(samples, 32, collate_fn=data.collate)))
    hidden = batch["target_mask"] & ~batch["observed_mask"]
    error = torch.where(hidden, batch["target"] - batch["first_guess"], 0).square().sum() / hidden.sum()
    assert float(error.sqrt()) == pytest.approx(
        np.sqrt(np.square(data.statistics.residual.std).mean()), rel=0.3
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"profiles": ProfileSampler(0.5, error=0.1)}, r"data\.profiles\.error=0\.1.*set data\.profiles\.error=0"),
        (
            {"anomalies": SimulatedAnomalies(20, 180, 0.8, 600, (100, 3000), 2, 0.4, 15, (0.7, 1.4))},
            r"data\.anomalies is set.*set data/anomalies=none",
        ),
        ({"validation_density": 1.0}, r"0 of \d+ patches of the validation region .*data\.validation_density"),
    ],
)  # fmt: skip
def test_what_does_not_suit_profiles_is_refused(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        data_of(**options)


def test_a_field_without_any_profile_is_refused() -> None:
    empty = dataclasses.replace(
        MASKED(FIELD), target=FIELD.target * np.nan, further=(FIELD.further[0] * np.nan,)
    )
    with pytest.raises(UserError, match="no profile of temperature or salinity lies in the field"):
        data_of(field=empty, masked_to=None)


@pytest.mark.parametrize(
    ("columns", "density", "expected"),
    [(0, 0, False), (1, 0, False), (2, 0, True), (3, 0.9, False), (4, 0.5, True)],
)
def test_a_patch_needs_a_profile_to_show_and_one_to_hide(
    columns: int, density: float, expected: bool
) -> None:
    target = np.full((2, 1, 5), np.nan)
    target[0, 0, :columns] = 1.0
    assert has_hidden_profiles(target, density) == expected
