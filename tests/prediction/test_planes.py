"""Fields as bytes: what is read back is within half a step."""

from __future__ import annotations

import base64
import zlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from depthdif.prediction.planes import HIGHEST, LAND, SEA_FLOOR, Coded, coded, numbers_within


def codes(planes: Coded, shape: tuple[int, ...]) -> np.ndarray:
    blocks = [np.frombuffer(zlib.decompress(base64.b64decode(block)), np.uint8) for block in planes.blocks]
    return np.stack(blocks).reshape(shape)


@given(st.integers(0, 2**32 - 1))
def test_values_come_back_to_half_a_step_of_the_range_of_their_depth(seed: int) -> None:
    generator = np.random.default_rng(seed)
    fields = (generator.normal(size=(3, 4, 5, 6)) * 10.0 ** np.arange(4)[:, None, None]).astype(np.float32)
    planes = coded(fields, np.ones((3, 5, 6), bool))
    low, high = (np.array(planes.ranges)[:, end, None, None] for end in (0, 1))
    step = (high - low) / HIGHEST
    read = low + codes(planes, fields.shape) * step
    assert (np.abs(read - fields) <= 0.5 * step * (1 + 1e-4)).all()
    np.testing.assert_allclose(low[:, 0, 0], fields.min(axis=(0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(high[:, 0, 0], fields.max(axis=(0, 2, 3)), rtol=1e-5, atol=1e-5)


def test_missing_values_are_land_outside_of_the_ocean_and_sea_floor_within() -> None:
    fields = np.array([[[[1.0, 2.0, np.nan]], [[1.0, np.nan, np.nan]]]])
    planes = coded(fields, np.array([[[True, True, False]]]))
    assert codes(planes, fields.shape).tolist() == [[[[0, HIGHEST, LAND]], [[0, SEA_FLOOR, LAND]]]]


def test_a_depth_of_one_value_or_of_none_is_coded() -> None:
    fields = np.array([[[[4.5, 4.5]], [[np.nan, np.nan]]]])
    planes = coded(fields, np.ones((1, 1, 2), bool))
    assert codes(planes, fields.shape).tolist() == [[[[0, 0]], [[SEA_FLOOR, SEA_FLOOR]]]]
    assert planes.ranges[0][0] == 4.5
    assert planes.ranges[0][1] > 4.5


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.1, 5000))
def test_the_numbers_of_times_and_depths_fit_and_fill_what_is_allowed(
    times: int, depths: int, most: float
) -> None:
    shown_times, shown_depths = numbers_within(times, depths, most)
    assert 1 <= shown_times <= times
    assert 1 <= shown_depths <= depths
    assert shown_times * shown_depths <= max(most, 1)
    if most >= times * depths:
        assert (shown_times, shown_depths) == (times, depths)
    else:
        # Not one more depth would fit.
        assert shown_depths == depths or shown_times * (shown_depths + 1) > most
