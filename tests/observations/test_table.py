import gzip
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from depthdif import UserError
from depthdif.observations import table
from depthdif.observations.quality import Quality
from depthdif.observations.refusals import Refusals

TEMPERATURE = "sea_water_temperature"
POTENTIAL = "sea_water_potential_temperature"
SALINITY = "sea_water_practical_salinity"
WANTED = (TEMPERATURE, POTENTIAL, SALINITY)

ROWS = """time,latitude,longitude,platform,depth,temperature
2016-01-01T06:00:00Z,-12.5,60,1901234,5,28.5
2016-01-01T06:00:00Z,-12.5,60,1901234,10,28.25
2016-01-02T06:00:00Z,-12.5,60,1901234,5,28
2016-01-02T06:00:00Z,3,179.5,2900001,5,29
2016-01-02T06:00:00Z,3,179.5,2900001,20,27
"""
EXPECTED = [
    (np.datetime64("2016-01-01T06:00"), -12.5, 60.0, "1901234", [(5, 28.5), (10, 28.25)]),
    (np.datetime64("2016-01-02T06:00"), -12.5, 60.0, "1901234", [(5, 28.0)]),
    (np.datetime64("2016-01-02T06:00"), 3.0, 179.5, "2900001", [(5, 29.0), (20, 27.0)]),
]


def read(path, columns=None, wanted=WANTED, quality=None, refusals=None):
    assert table.reads(path)
    return list(table.read(path, wanted, columns or {}, quality or Quality(), refusals or Refusals()))


def profiles(parts, name=TEMPERATURE):
    """Good samples by profile: (time, latitude, longitude, platform, [(depth, value)])."""
    return [
        (*head, [(d, v) for d, v in zip(depth, value, strict=True) if np.isfinite(d) and np.isfinite(v)])
        for part in parts
        for *head, depth, value in zip(
            part.time,
            part.latitude,
            part.longitude,
            part.platform,
            part.vertical,
            part.values[name],
            strict=True,
        )
    ]


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_of_one_platform_time_and_place_are_a_profile(tmp_path):
    parts = read(write(tmp_path / "a.csv", ROWS))
    assert profiles(parts) == [tuple(row) for row in EXPECTED]
    assert set(parts[0].values) == {TEMPERATURE}
    assert not parts[0].is_pressure


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_chunks_of_any_size_give_the_same_profiles(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(table, "ROWS", rows)
    assert profiles(read(write(tmp_path / "a.csv", ROWS))) == EXPECTED
    pd.read_csv(tmp_path / "a.csv").to_parquet(tmp_path / "a.parquet", row_group_size=2)
    assert profiles(read(tmp_path / "a.parquet")) == EXPECTED


@pytest.mark.parametrize("kind", ["semicolon", "tab", "gzip", "comments", "parquet dates"])
def test_the_same_table_in_other_forms(tmp_path, kind):
    path = tmp_path / "a.csv"
    if kind == "semicolon":
        write(path, ROWS.replace(",", ";").replace(".", ","))
    elif kind == "tab":
        path = write(tmp_path / "a.tsv", ROWS.replace(",", "\t"))
    elif kind == "gzip":
        path = tmp_path / "a.csv.gz"
        path.write_bytes(gzip.compress(ROWS.encode()))
    elif kind == "comments":
        write(path, f"# cruise 12\n{ROWS}")
    else:
        frame = pd.read_csv(write(path, ROWS), parse_dates=["time"])
        frame["time"] = frame["time"].dt.tz_convert("Europe/Paris")
        path = tmp_path / "a.parquet"
        frame.to_parquet(path)
    assert profiles(read(path)) == EXPECTED


def test_the_columns_of_an_argo_data_frame_are_known_with_their_flags(tmp_path):
    text = """CYCLE_NUMBER,LATITUDE,LONGITUDE,PLATFORM_NUMBER,POSITION_QC,PRES,PRES_QC,PSAL,PSAL_QC,TEMP,TEMP_QC,TIME,TIME_QC
1,-12.5,60,1901234,1,5,1,35,1,28.5,1,2016-01-01 06:00:00,1
1,-12.5,60,1901234,1,10,1,35.1,4,28.2,2,2016-01-01 06:00:00,1
1,-12.5,60,1901234,1,15,4,35.1,1,28.1,1,2016-01-01 06:00:00,1
1,-12.5,60,1901234,1,20,1,35.1,1,28.1,,2016-01-01 06:00:00,1
1,-12.5,60,1901234,1,25,1,35.1,1,28.1,3,2016-01-01 06:00:00,1
2,-12.5,61,1901234,8,5,1,35,1,28.9,1,2016-01-11 06:00:00,1
3,-12.5,62,1901234,4,5,1,35,1,28.9,1,2016-01-21 06:00:00,1
"""
    refusals = Refusals()
    parts = read(write(tmp_path / "a.csv", text), refusals=refusals)
    assert parts[0].is_pressure
    assert [row[4] for row in profiles(parts)] == [[(5, 28.5), (10, 28.2)], [(5, 28.9)]]
    assert [row[4] for row in profiles(parts, SALINITY)] == [[(5, 35), (20, 35.1), (25, 35.1)], [(5, 35)]]
    assert refusals.profile_counts["flag of time or position"] == 1
    assert {reason: n for reason, n in refusals.sample_counts.items() if n} == {
        "no flag": 1,
        "flag of the value": 2,
        "flag of the depth": 2,
    }
    assert not refusals.notes


def test_flags_with_gaps_and_written_as_fractions_are_the_same_flags(tmp_path):
    frame = pd.read_csv(write(tmp_path / "a.csv", ROWS))
    frame["qc"] = [1.0, np.nan, 2.0, 3.0, 1.0]
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        refusals = Refusals()
        found = profiles(read(tmp_path / name, refusals=refusals))
        assert [row[4] for row in found] == [[(5, 28.5)], [(5, 28)], [(20, 27)]]
        assert refusals.sample_counts["no flag"] == 1
        assert refusals.sample_counts["flag of the value"] == 1


def test_values_without_a_column_of_flags_are_taken_and_noted(tmp_path):
    refusals = Refusals()
    read(write(tmp_path / "a.csv", ROWS), refusals=refusals)
    assert refusals.notes == {"without quality flags": 5}


def test_units_of_headers_and_of_the_second_line_are_honoured(tmp_path):
    header = ROWS.replace("depth,temperature", "pres (Pa),temp [K]").replace("28.5", "301.65")
    part, *_ = read(write(tmp_path / "a.csv", header))
    assert part.is_pressure
    np.testing.assert_allclose(part.vertical[0, :1], 5e-4)
    np.testing.assert_allclose(part.values[TEMPERATURE][0, :1], 28.5)
    first, rest = ROWS.replace("28.5", "301.65").split("\n", 1)
    part, *others = read(write(tmp_path / "b.csv", f"{first}\nUTC,degrees_north,degrees_east,,km,K\n{rest}"))
    assert len(part.time) + sum(len(other.time) for other in others) == 3
    np.testing.assert_allclose(part.vertical[0, 0], 5000)
    np.testing.assert_allclose(part.values[TEMPERATURE][0, 0], 28.5)


def test_named_columns_with_their_standard_name_and_units(tmp_path):
    text = ROWS.replace("time,latitude", "when,latitude").replace("depth,temperature", "z,T0")
    text = text.replace("28.5", "301.65")
    columns = {"time": "when", "depth": "z", "value": "T0", "standard_name": POTENTIAL, "units": "K"}
    part, *_ = read(write(tmp_path / "a.csv", text), columns)
    assert set(part.values) == {POTENTIAL}
    np.testing.assert_allclose(part.values[POTENTIAL][0, 0], 28.5)


def test_rows_with_one_profile_identifier_are_a_profile_though_its_time_drifts(tmp_path):
    text = """time,lat,lon,profile_id,depth,temp
2016-01-01T00:00,10,50,a,5,20
2016-01-01T01:00,10.1,50,a,10,19
2016-01-02T01:00,10.1,50,b,10,18
"""
    found = profiles(read(write(tmp_path / "a.csv", text)))
    assert [row[4] for row in found] == [[(5, 20), (10, 19)], [(10, 18)]]
    assert found[0][3] == "2016-01-01T00:00 10.000 50.000"
    with pytest.raises(
        UserError, match=r"the rows of profile a are more than a day apart; set columns\.platform=NAME"
    ):
        read(write(tmp_path / "a.csv", text.replace("b,10,18", "a,10,18")))


def test_rows_without_time_or_position_are_refused_and_counted(tmp_path):
    text = ROWS.replace("2016-01-01T06:00:00Z,-12.5", "01/02/2016,-12.5").replace(",3,179.5", ",,179.5")
    refusals = Refusals()
    found = profiles(read(write(tmp_path / "a.csv", text), refusals=refusals))
    assert [row[4] for row in found] == [[(5, 28)]]
    assert refusals.profile_counts["no time"] == 1
    assert refusals.profile_counts["no position"] == 1


def test_codes_of_missing_values_are_no_temperatures(tmp_path):
    refusals = Refusals()
    found = profiles(
        read(
            write(tmp_path / "a.csv", ROWS.replace("28.25", "-999").replace(",27\n", ",99999\n")),
            refusals=refusals,
        )
    )
    assert [row[4] for row in found] == [[(5, 28.5)], [(5, 28)], [(5, 29)]]
    assert refusals.sample_counts["value impossible"] == 2


@pytest.mark.parametrize(
    ("old", "new", "columns", "message"),
    [
        ("time,", "when,", {}, r"no column of time among when, latitude, .*; set columns\.time=NAME"),
        (
            "depth",
            "z",
            {},
            r"no column of depth or pressure among .*; set columns\.depth=NAME or columns\.pressure",
        ),
        ("temperature", "t1", {}, r"no column of sea_water_temperature or .*; set columns\.value=NAME"),
        (
            "temperature",
            "t1",
            {"value": "t1"},
            r"does not say which variable it is; set columns\.standard_name, such as",
        ),
        ("platform", "lat", {}, r"latitude and lat may both be the latitude; set columns\.latitude=latitude"),
        (
            "platform",
            "temp",
            {},
            r"temp and temperature may both be the sea_water_temperature; set columns\.value=temp",
        ),
        ("", "", {"value": "x"}, r"columns\.value=x: no such column; there are time, latitude"),
        ("", "", {"temp": "x"}, r"columns\.temp=x; expected one of columns\.time"),
        ("", "", {"standard_name": POTENTIAL}, r"describe one column; set columns\.value=NAME too"),
        (
            "2016-01-01T06:00:00Z",
            "24106.25",
            {},
            r"time holds numbers such as 24106\.25; expected dates such as",
        ),
        ("depth,", "depth (furlong),", {}, "depth has units 'furlong'; expected m"),
    ],
)
def test_a_table_that_cannot_be_understood_is_refused_with_what_to_set(tmp_path, old, new, columns, message):
    path = write(tmp_path / "a.csv", ROWS.replace(old, new) if old else ROWS)
    with pytest.raises(UserError, match=message) as error:
        read(path, columns)
    assert str(path) in str(error.value)


def test_heights_in_place_of_depths_are_refused(tmp_path):
    frame = pd.read_csv(write(tmp_path / "a.csv", ROWS))
    frame["depth"] *= -1
    frame.to_csv(tmp_path / "a.csv")
    with pytest.raises(UserError, match="depth is mostly negative"):
        read(tmp_path / "a.csv")


def test_rows_of_a_profile_that_are_not_together_are_refused_only_across_chunks(tmp_path, monkeypatch):
    frame = pd.read_csv(write(tmp_path / "a.csv", ROWS)).sort_values("depth", kind="stable")
    frame.to_csv(tmp_path / "a.csv", index=False)
    assert sorted(profiles(read(tmp_path / "a.csv")), key=lambda row: row[:3]) == sorted(
        EXPECTED, key=lambda row: row[:3]
    )
    monkeypatch.setattr(table, "ROWS", 2)
    with pytest.raises(
        UserError, match=r"the rows of the profile with time=2016-01-01T06:00:00Z, .* are not together"
    ):
        read(tmp_path / "a.csv")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UserError, match=r"pip install 'depthdif\[parquet\]'"):
        read(tmp_path / "a.parquet")


def test_an_empty_table_has_no_profile(tmp_path):
    assert read(write(tmp_path / "a.csv", ROWS.split("\n")[0] + "\n")) == []


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 20))
def test_every_sample_of_every_profile_comes_back(tmp_path, lengths, rows):
    number = np.repeat(np.arange(len(lengths)), lengths)
    frame = pd.DataFrame(
        {
            "time": pd.Timestamp("2016-01-01") + pd.to_timedelta(number, "D"),
            "lat": number * 0.5,
            "lon": 50.0,
            "float": number // 2,
            "depth": np.concatenate([np.arange(n) * 10.0 for n in lengths]),
            "temp": np.arange(len(number)) * 0.25,
        }
    )
    frame.to_csv(tmp_path / "a.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "ROWS", rows)
        found = profiles(read(tmp_path / "a.csv"))
    assert [len(row[4]) for row in found] == lengths
    assert [value for row in found for _, value in row[4]] == frame["temp"].tolist()
    assert [row[3] for row in found] == [str(n // 2) for n in range(len(lengths))]


def test_rows_that_end_with_a_separator_are_not_shifted(tmp_path):
    header, rest = ROWS.split("\n", 1)
    write(tmp_path / "a.csv", f"{header}\n{rest.replace(chr(10), ',' + chr(10))}")
    assert profiles(read(tmp_path / "a.csv")) == EXPECTED


@pytest.mark.parametrize(
    ("name", "content"), [("a.csv", b""), ("a.csv", b"\xff\xfe\x00\x81"), ("a.parquet", b"text")]
)
def test_a_file_that_is_no_table_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=r"no table|no Parquet file"):
        read(tmp_path / name)
