from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthdif import UserError
from depthdif.observations.quality import Quality
from depthdif.observations.read import Window, latest, read_profiles, read_variables
from tests.observations.argo_files import write_argo, write_en

PROFILE = {"pres": [5, 10], "temp": [20, 19], "psal": [35, 35]}


def read(paths: str | list[str], name: str = "sea_water_temperature", window: Window | None = None):  # type: ignore[no-untyped-def]
    return read_profiles(paths, name, "degC", window or Window.everything(), Quality())


def test_files_of_several_layouts_join_to_one_table_in_the_order_of_time(tmp_path: Path) -> None:
    write_argo(tmp_path / "R5900446_001.nc", [PROFILE])
    write_en(tmp_path / "EN.nc", salinity=True)
    (tmp_path / "ctd.csv").write_text(
        "time,latitude,longitude,depth,potential_temperature\n1999-05-01,3,60,5,18\n1999-05-01,3,60,9,17\n"
    )
    table, refusals = read(str(tmp_path), "sea_water_potential_temperature")
    assert len(table) == 4
    assert (np.diff(table.time) >= np.timedelta64(0)).all()
    assert table.platform[-1] == "5900446"
    assert (refusals.files, refusals.used_profiles, refusals.used_samples) == (3, 4, 8)


def test_the_delayed_mode_file_replaces_the_real_time_file_of_its_cycle(tmp_path: Path) -> None:
    adjusted = {"pres_adjusted": [5, 10], "temp_adjusted": [21, 20]}
    write_argo(tmp_path / "R5900446_001.nc", [PROFILE])
    write_argo(tmp_path / "D5900446_001.nc", [{**PROFILE, **adjusted, "mode": "D"}])
    write_argo(tmp_path / "R5900446_001D.nc", [{**PROFILE, "direction": "D"}])
    table, refusals = read(str(tmp_path / "*.nc"))
    assert sorted(table.value[table.start[:-1]].tolist()) == [20, 21]
    assert refusals.profile_counts["the same cycle again"] == 1


@pytest.mark.parametrize("refused", [{"temp_adjusted_qc": "44"}, {"position_qc": "4"}, {"temp_adjusted": []}])
def test_a_cycle_that_delayed_mode_rejects_is_not_taken_from_its_real_time_file(
    tmp_path: Path, refused: dict[str, Any]
) -> None:
    delayed = {**PROFILE, "mode": "D", "pres_adjusted": [5, 10], "temp_adjusted": [21, 20], **refused}
    write_argo(tmp_path / "D5900446_001.nc", [delayed])
    write_argo(tmp_path / "R5900446_001.nc", [PROFILE])
    write_argo(tmp_path / "R5900446_002.nc", [{**PROFILE, "cycle": 2, "juld": 24_116.0}])
    table, refusals = read(str(tmp_path))
    assert table.time.astype("datetime64[D]").astype(str).tolist() == ["2016-01-11"]
    assert refusals.profile_counts["the same cycle again"] == 1
    assert refusals.outside == 0


def test_the_latest_of_a_cycle_is_chosen_whatever_the_order() -> None:
    identity, rank = np.array(["a", "", "b", "a", "", "a", "c"]), np.array([0, 0, 1, 2, 0, 2, 0])
    found, found_rank = np.append(identity, "c"), np.append(rank, 1)
    chosen = latest(identity, rank, found, found_rank)
    assert chosen.tolist() == [False, True, True, True, True, False, False]


@given(
    st.lists(
        st.tuples(st.sampled_from(["", "a", "b"]), st.integers(0, 2), st.booleans()), min_size=1, max_size=8
    )
)
def test_a_cycle_is_chosen_once_if_its_highest_rank_is_usable_and_else_not_at_all(
    profiles: list[tuple[str, int, bool]],
) -> None:
    identity, rank, usable = (np.array(column) for column in zip(*profiles, strict=True))
    chosen = latest(identity[usable], rank[usable], identity, rank)
    assert chosen[identity[usable] == ""].all()
    for cycle in ("a", "b"):
        ranks = rank[identity == cycle]
        is_usable = (usable & (identity == cycle) & (rank == ranks.max(initial=-1))).any()
        assert rank[usable][chosen & (identity[usable] == cycle)].tolist() == (
            [ranks.max()] if is_usable else []
        )


def test_a_cycle_counts_once_in_a_file_of_all_cycles_and_in_one_of_its_own(tmp_path: Path) -> None:
    write_argo(tmp_path / "5900446_prof.nc", [PROFILE, {**PROFILE, "cycle": 2}])
    write_argo(tmp_path / "R5900446_002.nc", [{**PROFILE, "cycle": 2}])
    assert len(read(str(tmp_path))[0]) == 2


def test_profiles_outside_region_and_times_are_counted_apart(tmp_path: Path) -> None:
    path = write_argo(tmp_path / "R.nc", [PROFILE, {**PROFILE, "cycle": 2, "longitude": -170.0}])
    time = np.datetime64("2016-01-01", "s")
    day = np.timedelta64(1, "D")
    table, refusals = read(str(path), window=Window(180, 200, -30, 0, time - day, time + day))
    assert table.longitude.tolist() == [-170]
    assert refusals.outside == 1
    empty, refusals = read(str(path), window=Window(60, 90, -30, 0, time - 9 * day, time - 8 * day))
    assert (len(empty), refusals.outside) == (0, 2)


def test_files_that_hold_no_profiles_are_skipped_and_named(tmp_path: Path) -> None:
    write_argo(tmp_path / "R.nc", [PROFILE])
    write_argo(tmp_path / "BR.nc", [{"pres": [5]}])
    (tmp_path / "broken.nc").write_bytes(b"nothing")
    table, refusals = read(str(tmp_path))
    assert len(table) == 1
    assert {Path(path).name for path, _ in refusals.skipped} == {"BR.nc", "broken.nc"}
    assert any("broken.nc" in line for line in refusals.lines())


def test_a_folder_is_searched_for_files_of_profiles_and_not_for_text(tmp_path: Path) -> None:
    write_argo(tmp_path / "R.nc", [PROFILE])
    (tmp_path / "ar_index_global_prof.txt").write_text("# an index\nfile,date\nR.nc,20160101\n")
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    table, refusals = read(str(tmp_path))
    assert len(table) == 1
    assert [Path(path).name for path, _ in refusals.skipped] == ["notes.csv"]
    with pytest.raises(UserError, match=r"no usable profile.*notes.csv: .*time"):
        read(str(tmp_path / "notes.csv"))


def test_a_damaged_file_is_skipped_and_named(tmp_path: Path) -> None:
    content = write_argo(tmp_path / "R.nc", [PROFILE]).read_bytes()
    (tmp_path / "half.nc").write_bytes(content[: len(content) // 2])
    # Every compressed block starts with these bytes.
    assert b"\x78\x5e" in content
    (tmp_path / "blocks.nc").write_bytes(content.replace(b"\x78\x5e", b"\xff\xff"))
    table, refusals = read(str(tmp_path))
    assert len(table) == 1
    assert [(Path(path).name, reason.split(":")[0]) for path, reason in refusals.skipped] == [
        ("blocks.nc", "cannot be read"),
        ("half.nc", "no NetCDF file"),
    ]


def test_a_path_with_brackets_is_a_file_and_no_pattern(tmp_path: Path) -> None:
    assert len(read(str(write_argo(tmp_path / "R[1].nc", [PROFILE])))[0]) == 1


def test_without_a_usable_profile_the_error_says_why(tmp_path: Path) -> None:
    path = write_argo(tmp_path / "R.nc", [{"pres": [5, 10], "temp": [20, 19]}])
    with pytest.raises(
        UserError, match=r"no usable profile of sea_water_potential_temperature .* no salinity"
    ):
        read(str(path), "sea_water_potential_temperature")


def test_a_pattern_without_files_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a file, a quoted glob or a folder"):
        read(str(tmp_path / "*.nc"))


VARIABLES = {
    "temperature": ("sea_water_temperature", "degC"),
    "salinity": ("sea_water_practical_salinity", "1"),
}


def test_each_variable_has_the_profiles_with_good_values_of_its_own(tmp_path: Path) -> None:
    write_argo(tmp_path / "R5900446_001.nc", [PROFILE])
    write_argo(tmp_path / "R5900446_002.nc", [{**PROFILE, "cycle": 2, "psal_qc": "44"}])
    write_argo(tmp_path / "R5900446_003.nc", [{**PROFILE, "cycle": 3, "temp_qc": "44", "psal": [34, 36]}])
    found = read_variables(str(tmp_path), VARIABLES, Window.everything(), Quality())
    (temperature, of_temperature), (salinity, of_salinity) = found
    assert temperature.value.tolist() == [20, 19, 20, 19]
    assert sorted(salinity.value.tolist()) == [34, 35, 35, 36]
    assert of_temperature.sample_counts["flag of the temperature"] == 2
    assert of_salinity.sample_counts["flag of the salinity"] == 2
    assert (of_temperature.variable, of_salinity.variable) == ("temperature", "salinity")


def test_a_variable_that_no_file_has_is_empty_and_only_without_any_variable_it_is_an_error(
    tmp_path: Path,
) -> None:
    (tmp_path / "t.csv").write_text("time,latitude,longitude,depth,temperature\n1999-05-01,3,60,5,18\n")
    path = str(tmp_path / "t.csv")
    tables = [table for table, _ in read_variables(path, VARIABLES, Window.everything(), Quality())]
    assert [len(table) for table in tables] == [1, 0]
    (tmp_path / "t.csv").write_text("time,latitude,longitude,depth,oxygen\n1999-05-01,3,60,5,18\n")
    with pytest.raises(
        UserError, match=r"no usable profile of sea_water_temperature .*of sea_water_practical_salinity"
    ):
        read_variables(path, VARIABLES, Window.everything(), Quality())
