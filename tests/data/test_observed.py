"""A sparse field of profiles from files, on the grid of a gridded product."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from depthdif import UserError
from depthdif.data.field import OceanField
from depthdif.data.observed import field_of_observations
from depthdif.data.synthetic import synthetic_field

PRODUCT = synthetic_field(times=2, depths=3, height=12, width=24, max_depth=20, salinity=True)
OCEAN = np.isfinite(PRODUCT.target.values[0]).all(axis=0)
ROW, COLUMN = (int(part) for part in np.argwhere(OCEAN)[0])


def written(path: Path, *rows: tuple[str, str, float, float | str]) -> Path:
    """Profiles of a platform at a time, with a temperature and a salinity at all depths of the product, in one cell."""
    lines = ["platform,time,latitude,longitude,depth,TEMP,PSAL"]
    for platform, time, temperature, salinity in rows:
        place = f"{PRODUCT.latitude[ROW]},{PRODUCT.longitude[COLUMN]}"
        lines += [f"{platform},{time},{place},{depth},{temperature},{salinity}" for depth in PRODUCT.depths]
    path.write_text("\n".join(lines) + "\n")
    return path


def field_of(path: Path, **options: Any) -> OceanField:
    chosen = {"start": "2010-01-01", "stop": "2010-01-21", "every": 10, **options}
    return field_of_observations(PRODUCT, str(path), console=Console(file=io.StringIO()), **chosen)


def test_the_profiles_of_a_window_are_averaged_in_their_cell_each_variable_by_itself(tmp_path: Path) -> None:
    field = field_of(written(
        tmp_path / "profiles.csv",
        ("a", "2010-01-02", 10.0, 35.0), ("b", "2010-01-09", 14.0, ""), ("c", "2010-01-11", 20.0, 33.0),
        ("d", "2010-02-01", 99.0, 33.0),
    ))  # fmt: skip
    # The third window would be shorter.
    assert [str(time)[:13] for time in field.times] == ["2010-01-06T00", "2010-01-16T00"]
    temperature, salinity = (array.values for array in field.targets)
    np.testing.assert_allclose(temperature[:, :, ROW, COLUMN], [[12] * 3, [20] * 3], rtol=1e-6)
    np.testing.assert_allclose(salinity[:, :, ROW, COLUMN], [[35] * 3, [33] * 3], rtol=1e-6)
    assert np.isfinite(temperature).sum() == 6
    assert field.is_sparse
    assert field.surface == ()
    assert field.ocean is not None
    np.testing.assert_array_equal(field.ocean[:3], np.isfinite(PRODUCT.target.values).any(axis=0))
    assert [variable.units for variable in field.variables] == ["degree_Celsius", "1"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"stop": "2010-01-05"}, r"hold no window of data\.every=10 days"),
        ({"every": 0}, r"hold no window of data\.every=0 days"),
        ({"start": "soon"}, r"data\.start=soon .*expected dates"),
        (
            {"start": "2011-01-01", "stop": "2011-02-01"},
            r"no profile of temperature in the region from 2011-01-01",
        ),
        ({"standard_name": "sea_water_temperature"}, r"for 2 variables; expected one for each"),
    ],
)
def test_what_gives_no_field_is_refused_in_one_line(
    tmp_path: Path, options: dict[str, Any], expected: str
) -> None:
    path = written(tmp_path / "profiles.csv", ("a", "2010-01-02", 10.0, 35.0))
    with pytest.raises(UserError, match=expected) as error:
        field_of(path, **options)
    assert "\n" not in str(error.value)


def test_a_product_that_does_not_say_what_it_holds_needs_a_name(tmp_path: Path) -> None:
    path = written(tmp_path / "profiles.csv", ("a", "2010-01-02", 10.0, 35.0))
    unnamed = OceanField(PRODUCT.target.drop_attrs())
    options = {"start": "2010-01-01", "stop": "2010-01-20", "console": Console(file=io.StringIO())}
    with pytest.raises(UserError, match=r"no standard_name .*data\.standard_name=sea_water_temperature"):
        field_of_observations(unnamed, str(path), **options)  # type: ignore[arg-type]
