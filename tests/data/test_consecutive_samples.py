from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthdif.data.datamodule import OceanDataModule
from depthdif.data.field import OceanField
from depthdif.data.patches import Box, TimeRange, consecutive_times
from depthdif.data.synthetic import synthetic_field

FIELD = synthetic_field(times=8, depths=3, height=24, width=48)


def module(validation: Box | TimeRange, field: OceanField = FIELD) -> OceanDataModule:
    data = OceanDataModule(field, validation, patch_size=8, validation_patches=3)
    data.setup()
    return data


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(0, 11), st.integers(1, 5))
def test_consecutive_times_hold_the_time_and_lie_inside(inside: list[bool], time: int, count: int) -> None:
    time %= len(inside)
    inside[time] = True
    times = consecutive_times(np.array(inside), time, count)
    if times is None:
        # No run of true times around it is long enough.
        assert not any(
            all(inside[start : start + count]) and start <= time < start + count
            for start in range(len(inside) - count + 1)
        )
    else:
        assert len(times) == count
        assert time in times
        assert all(inside[each] for each in times)


def test_the_time_is_in_the_middle_unless_the_region_ends() -> None:
    inside = np.arange(10) < 8
    found = [consecutive_times(inside, time, 5) for time in (0, 4, 7)]
    assert found == [range(0, 5), range(2, 7), range(3, 8)]


def test_a_followed_patch_keeps_its_place_and_has_profiles_of_its_own_at_each_time() -> None:
    data = module(Box(longitude=(30, 130)))
    samples = data.consecutive_samples(1, 5)
    assert samples is not None
    followed = [samples[number] for number in range(len(samples))]
    assert len({int(sample["time"]) for sample in followed}) == 5
    validation = data.validation_samples()[1]
    for sample in followed:
        assert np.array_equal(sample["coordinates"], validation["coordinates"])
    assert any(np.array_equal(sample["target"], validation["target"]) for sample in followed)
    assert not np.array_equal(followed[0]["observed_mask"], followed[1]["observed_mask"])


@pytest.mark.parametrize(("count", "exists"), [(3, True), (4, False)])
def test_a_followed_patch_stays_in_the_times_of_validation(count: int, exists: bool) -> None:
    times = [str(time)[:10] for time in FIELD.times]
    data = module(TimeRange(times[2], times[4]))
    samples = data.consecutive_samples(0, count)
    assert (samples is not None) is exists
    if samples is not None:
        assert {int(samples[number]["time"]) for number in range(3)} == set(FIELD.days[2:5].tolist())


def test_a_patch_is_not_followed_through_a_time_at_which_the_field_is_missing() -> None:
    values = FIELD.target.values.copy()
    values[3] = np.nan
    field = dataclasses.replace(FIELD, target=FIELD.target.copy(data=values))
    data = OceanDataModule(
        field, TimeRange(None, str(FIELD.times[2])[:10]), patch_size=8, validation_patches=3
    )
    data._validation_times = np.ones(8, bool)
    assert data.consecutive_samples(0, 5) is None
