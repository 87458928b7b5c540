from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from depthdif import UserError
from depthdif.data.dataset import (
    Conditioner,
    FixedPatches,
    PatchCutter,
    TrainingPatches,
    collate,
)
from depthdif.data.field import OceanField
from depthdif.data.normalization import Standardization, measure
from depthdif.data.patches import Box, Patch, PatchSet, read_patch
from depthdif.data.profiles import ProfileSampler
from depthdif.data.synthetic import synthetic_field

FIELD = synthetic_field(times=3, depths=4, height=20, width=40)
SIZE = (8, 10)
REGION = Box().select(FIELD)
TARGET = measure(FIELD.target, REGION, 9)
SURFACE = Standardization.join([measure(FIELD.surface[0], REGION, 9)])
CUTTER = PatchCutter(FIELD, SIZE, Conditioner(TARGET, SURFACE))


def training(seed: int = 0, field: OceanField = FIELD) -> TrainingPatches:
    cutter = PatchCutter(field, SIZE, Conditioner(TARGET, SURFACE))
    return TrainingPatches(PatchSet(field, REGION, SIZE), ProfileSampler(0.1), cutter, 64, seed)


def fixed(patches: list[Patch]) -> FixedPatches:
    return FixedPatches(patches, ProfileSampler(0.1), CUTTER, seed=0)


def test_sample_keeps_the_data_contract() -> None:
    batch = collate([training()[draw] for draw in range(5)])
    expected = {
        "target": ((5, 4, 8, 10), torch.float32),
        "target_mask": ((5, 4, 8, 10), torch.bool),
        "ocean_mask": ((5, 4, 8, 10), torch.bool),
        "observations": ((5, 4, 8, 10), torch.float32),
        "observed_mask": ((5, 4, 8, 10), torch.bool),
        "surface": ((5, 1, 8, 10), torch.float32),
        "surface_mask": ((5, 1, 8, 10), torch.bool),
        "coordinates": ((5, 2), torch.float32),
        "day_of_year": ((5,), torch.float32),
        "latitude": ((5, 8), torch.float32),
        "longitude": ((5, 10), torch.float32),
        "time": ((5,), torch.int64),
        "index": ((5,), torch.int64),
    }
    assert {key: (tuple(value.shape), value.dtype) for key, value in batch.items()} == expected
    assert batch["index"].tolist() == [0, 1, 2, 3, 4]


def test_masks_say_what_is_missing_and_values_there_are_zero() -> None:
    patch = Patch(time=1, row=9, column=35)
    sample = fixed([patch])[0]
    target, surface = read_patch(FIELD, patch, SIZE)
    np.testing.assert_array_equal(sample["ocean_mask"], np.isfinite(target))
    np.testing.assert_array_equal(sample["target_mask"], sample["ocean_mask"])
    np.testing.assert_array_equal(sample["surface_mask"], np.isfinite(surface))
    assert 0 < sample["surface_mask"].mean() < 1
    assert (sample["target"][~sample["ocean_mask"]] == 0).all()
    assert (sample["surface"][~sample["surface_mask"]] == 0).all()
    restored = TARGET.restore(sample["target"])[sample["ocean_mask"]]
    np.testing.assert_allclose(restored, target[sample["ocean_mask"]], atol=1e-4)
    restored = SURFACE.restore(sample["surface"])[sample["surface_mask"]]
    np.testing.assert_allclose(restored, surface[sample["surface_mask"]], atol=1e-4)


def test_observations_are_the_target_at_observed_cells_and_zero_elsewhere() -> None:
    for draw in range(20):
        sample = training()[draw]
        observed = sample["observed_mask"]
        assert observed.any()
        assert not (observed & ~sample["ocean_mask"]).any()
        np.testing.assert_array_equal(sample["observations"][observed], sample["target"][observed])
        assert (sample["observations"][~observed] == 0).all()


def test_place_and_time_belong_to_the_patch() -> None:
    sample = fixed([Patch(time=2, row=3, column=36)])[0]
    np.testing.assert_allclose(sample["latitude"], FIELD.latitude[3:11], rtol=1e-6)
    # 40 columns of 9 degrees from -175.5: columns 36 to 45 run from 148.5 over the seam to 229.5.
    np.testing.assert_allclose(sample["longitude"], 148.5 + 9 * np.arange(10))
    np.testing.assert_allclose(
        sample["coordinates"], [FIELD.latitude[3:11].mean(), (148.5 + 229.5) / 2 - 360], rtol=1e-6
    )
    assert np.datetime64(int(sample["time"]), "D") == FIELD.times[2].astype("datetime64[D]")
    assert sample["day_of_year"] == FIELD.day_of_year[2]


def test_field_without_surface_gives_no_surface_channel() -> None:
    cutter = PatchCutter(OceanField(FIELD.target), SIZE, Conditioner(TARGET, Standardization.join([])))
    sample = FixedPatches([Patch(0, 3, 0)], ProfileSampler(0.1), cutter, seed=0)[0]
    assert sample["surface"].shape == sample["surface_mask"].shape == (0, 8, 10)
    assert sample["surface"].dtype == np.float32


@given(draw=st.integers(0, 2**40), seed=st.integers(0, 2**32))
def test_training_sample_depends_on_seed_and_draw_alone(draw: int, seed: int) -> None:
    first = training(seed)[draw]
    dataset = training(seed)
    dataset[draw + 1], np.random.random(3), torch.rand(3)  # noqa: NPY002
    again = pickle.loads(pickle.dumps(dataset))[draw]
    for key in first:
        np.testing.assert_array_equal(first[key], again[key])


def test_other_seed_or_draw_gives_another_sample() -> None:
    def place(sample: dict[str, np.ndarray]) -> tuple[bytes, bytes]:
        return sample["target"].tobytes(), sample["observed_mask"].tobytes()

    places = {place(training(seed)[draw]) for seed in range(3) for draw in range(10)}
    assert len(places) == 30
    # The second epoch of 64 draws does not repeat the first.
    assert place(training()[0]) != place(training()[64])


def test_training_draws_again_where_a_time_is_missing() -> None:
    target = FIELD.target.copy()
    target[1:] = np.nan
    gappy = training(field=dataclasses.replace(FIELD, target=target))
    assert {int(gappy[draw]["time"]) for draw in range(20)} == {int(FIELD.days[0])}


def test_field_that_is_missing_at_all_drawn_times_is_refused() -> None:
    dataset = training()
    dataset.cutter._field = OceanField(FIELD.target * np.nan, FIELD.surface)
    with pytest.raises(UserError, match="100 training patches in a row contain no ocean"):
        dataset[0]


def test_of_a_sparse_field_all_measured_cells_are_learnt_and_those_not_shown_validated() -> None:
    measured = FIELD.target.where(np.random.default_rng(0).random(FIELD.target.shape) < 0.3)
    sparse = dataclasses.replace(FIELD, target=measured, ocean=np.isfinite(FIELD.target.values[0]))
    cutter = PatchCutter(sparse, SIZE, Conditioner(TARGET, SURFACE))
    patch, half = Patch(time=1, row=9, column=35), ProfileSampler(0.5, 0.0)
    learnt = cutter.sample(patch, cutter.read(patch), half, np.random.default_rng(0), 0)
    validated = FixedPatches([patch], half, cutter, seed=0)[0]
    known = np.isfinite(read_patch(sparse, patch, SIZE)[0])
    for sample in (learnt, validated):
        np.testing.assert_array_equal(sample["ocean_mask"], np.isfinite(read_patch(FIELD, patch, SIZE)[0]))
        assert 0.3 < sample["observed_mask"].sum() / known.sum() < 0.7
        assert not (sample["observed_mask"] & ~known).any()
    np.testing.assert_array_equal(learnt["target_mask"], known)
    np.testing.assert_array_equal(validated["target_mask"], known & ~validated["observed_mask"])
