"""Profiles from tables (CSV, Parquet) with one row a sample."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from depthdif import UserError
from depthdif.observations import cf_decoding
from depthdif.observations.profiles import RawProfiles
from depthdif.observations.quality import Quality
from depthdif.observations.ragged import blocks, own_platforms, pad
from depthdif.observations.refusals import Refusals
from depthdif.observations.table_columns import Columns, find_columns

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".txt", ".parquet", ".pq")
ROWS = 1_000_000  # that are in memory at a time, besides those of one profile
_SEPARATORS = (",", ";", "\t")
# A table has no fill value: -999 and 99999 are none of these. Degrees Celsius; practical or absolute salinity.
_POSSIBLE = {"temperature": (-5.0, 50.0), "salinity": (0.0, 60.0)}


def reads(path: str | Path) -> bool:
    """Whether a file is a table, by its name."""
    return str(path).lower().endswith(SUFFIXES)


def read(
    path: str | Path,
    wanted: Sequence[str],
    columns: Mapping[str, str | None],
    quality: Quality,
    refusals: Refusals,
) -> Iterator[RawProfiles]:
    """Profiles of a table, block by block; the rows of a profile have the same profile, or platform, time and place.

    Args:
        wanted: standard names of variables to take values of, as far as the table has them.
        columns: names of columns by role where they are not the usual ones (`find_columns`).

    Raises:
        UserError: columns that are missing or ambiguous, times that are no dates, rows of a profile that are not together in a
            table of more than `ROWS` rows, or Parquet without pyarrow.
    """
    try:
        chosen, chunks = _open(Path(path), wanted, columns)
        seen: set[int] = set()
        for chunk in _whole_profiles(chunks, chosen, seen):
            yield from _profiles(chunk, chosen, quality, refusals)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _open(
    path: Path, wanted: Sequence[str], columns: Mapping[str, str | None]
) -> tuple[Columns, Iterator[pd.DataFrame]]:
    """The columns of a table, and its rows chunk by chunk."""
    if path.suffix.lower() in (".parquet", ".pq"):
        try:
            import pyarrow.parquet  # type: ignore[import-untyped]
        except ImportError as error:
            raise UserError("a Parquet file needs pyarrow; run pip install 'depthdif[parquet]'") from error
        try:
            file = pyarrow.parquet.ParquetFile(path)
        except pyarrow.ArrowInvalid as error:
            raise UserError(f"no Parquet file: {error}") from error
        names = file.schema_arrow.names
        chosen = find_columns(names, _units(names), wanted, columns)
        batches = file.iter_batches(batch_size=ROWS, columns=chosen.all)
        return chosen, (batch.to_pandas() for batch in batches)
    # With index_col=False rows that end with a separator are not shifted by one column.
    options: dict[str, Any] = {"comment": "#", "index_col": False}
    try:
        headers = {
            separator: pd.read_csv(path, sep=separator, nrows=0, **options) for separator in _SEPARATORS
        }
        separator = max(headers, key=lambda separator: len(headers[separator].columns))
        head = pd.read_csv(path, sep=separator, nrows=1, dtype=str, **options)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise UserError(f"no table: {error}") from error
    names = list(head.columns)
    units, second = _units(names), [str(cell).strip() for cell in head.iloc[0]] if len(head) else []
    # ERDDAP writes the units into the second line.
    has_units = any(cell.lower().startswith("degrees_north") for cell in second)
    if has_units:
        units = {name: cell for name, cell in zip(names, second, strict=True) if cell not in ("", "nan")}
    chosen = find_columns(names, units, wanted, columns)
    words = [*chosen.roles.values(), *chosen.flags.values()]
    if separator == ";":
        options["decimal"] = ","
    chunks = pd.read_csv(
        path,
        sep=separator,
        usecols=chosen.all,
        dtype=dict.fromkeys(set(words) - {chosen.roles["latitude"], chosen.roles["longitude"]}, str),
        skiprows=[1] if has_units else None,
        chunksize=ROWS,
        **options,
    )
    return chosen, chunks


def _units(names: Sequence[str]) -> dict[str, str]:
    """Units in the headers, such as that of `TEMP (degC)`."""
    found = {name: re.search(r"[(\[]([^)\]]+)[)\]]\s*$", name) for name in names}
    return {name: match[1].strip() for name, match in found.items() if match}


def _whole_profiles(
    chunks: Iterator[pd.DataFrame], columns: Columns, seen: set[int]
) -> Iterator[pd.DataFrame]:
    """Chunks that end with the last row of a profile; column `number` is that of the profile in the chunk."""
    held: list[pd.DataFrame] = []
    roles = columns.roles
    by = [roles["profile"]] if "profile" in roles else [roles["time"], roles["latitude"], roles["longitude"]]
    by += [roles["platform"]] if "platform" in roles else []
    for chunk in chunks:
        chunk = pd.concat([*held, chunk], ignore_index=True)
        if not len(chunk):
            continue
        number = chunk.groupby(by, sort=False, dropna=False).ngroup().to_numpy()
        last = number == number[-1]
        held = [chunk[last]]
        if not last.all():
            yield _numbered(chunk[~last], number[~last], by, seen)
    if held:
        yield _numbered(held[0], np.zeros(len(held[0]), np.int64), by, seen)


def _numbered(rows: pd.DataFrame, number: np.ndarray, by: list[str], seen: set[int]) -> pd.DataFrame:
    """Rows with the `number` of their profile; raises UserError where a profile was `seen` in an earlier chunk."""
    _, first, number = np.unique(number, return_index=True, return_inverse=True)
    keys = pd.util.hash_pandas_object(rows[by].iloc[first].astype(str), index=False).tolist()
    for key, row in zip(keys, first, strict=True):
        if key in seen:
            raise UserError(
                f"the rows of the profile with {', '.join(f'{name}={rows[name].iloc[row]}' for name in by)} are not together; "
                f"sort a table of more than {ROWS} rows by profile"
            )
    seen.update(keys)
    return rows.assign(number=number)


def _profiles(
    rows: pd.DataFrame, columns: Columns, quality: Quality, refusals: Refusals
) -> Iterator[RawProfiles]:
    """The profiles of some rows."""
    rows = rows.sort_values("number", kind="stable")
    number, first = np.unique(rows["number"].to_numpy(), return_index=True)
    lengths = np.diff(np.append(first, len(rows)))
    heads, roles = rows.iloc[first], columns.roles
    time = _times(heads[roles["time"]], roles["time"])
    latitude, longitude = (_numbers(heads[roles[role]]) for role in ("latitude", "longitude"))
    if "profile" in roles:
        _check_one_time(_times(rows[roles["time"]], roles["time"]), first, heads[roles["profile"]])
    good = np.ones(len(number), bool)
    for role in ("time", "latitude", "longitude"):
        if roles[role] in columns.flags:
            good &= _good(heads[columns.flags[roles[role]]], quality.position)[0]
    dated, placed = ~np.isnat(time), (np.abs(latitude) <= 90) & (np.abs(longitude) <= 360)
    refusals.profiles("no time", int((~dated).sum()))
    refusals.profiles("no position", int((dated & ~placed).sum()))
    refusals.profiles("flag of time or position", int((dated & placed & ~good).sum()))
    good &= dated & placed

    platform = np.full(len(number), "", object)
    if "platform" in roles:
        platform = cf_decoding.words(_text(heads[roles["platform"]]))
    platform = np.where(platform == "", own_platforms(time, latitude, longitude), platform)
    depth, values = _samples(rows, np.repeat(good, lengths), columns, quality, refusals)
    start = np.append(first, len(rows))
    for block in blocks(lengths):
        samples = slice(start[block.start], start[block.stop])
        yield RawProfiles(
            time[block][good[block]],
            latitude[block][good[block]],
            longitude[block][good[block]],
            platform[block][good[block]].astype(str),
            pad(depth[samples], lengths[block])[good[block]],
            columns.is_pressure,
            {name: pad(value[samples], lengths[block])[good[block]] for name, value in values.items()},
        )


def _samples(
    rows: pd.DataFrame, placed: np.ndarray, columns: Columns, quality: Quality, refusals: Refusals
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Depth or pressure and values (M,) of all rows, NaN where refused; refusals are counted in profiles that are `placed`."""
    standard_name, default = ("sea_water_pressure", "dbar") if columns.is_pressure else ("depth", "m")
    attributes = {"standard_name": standard_name, "units": columns.units.get(columns.vertical, default)}
    depth = cf_decoding.vertical(_numbers(rows[columns.vertical]), attributes, columns.is_pressure)
    if np.nanmean(np.append(depth < -1, False)) > 0.5:
        raise UserError(
            f"{columns.vertical} is mostly negative; expected depths counted downwards from the surface"
        )
    usable = np.ones(len(rows), bool)
    if columns.vertical in columns.flags:
        usable = _good(rows[columns.flags[columns.vertical]], quality.good)[0]
    values, unflagged = {}, np.zeros(len(rows), bool)
    for name, column in columns.values.items():
        default = "degree_Celsius" if "temperature" in name else "g kg-1" if "absolute" in name else "1"
        value = cf_decoding.physical(_numbers(rows[column]), columns.units.get(column, default), name)
        there = placed & np.isfinite(value) & np.isfinite(depth)
        low, high = next((limits for word, limits in _POSSIBLE.items() if word in name), (-np.inf, np.inf))
        possible = (value >= low) & (value <= high)
        refusals.samples("value impossible", int((there & ~possible).sum()))
        there &= possible
        good, absent = np.ones(len(rows), bool), np.zeros(len(rows), bool)
        if column in columns.flags:
            good, absent = _good(rows[columns.flags[column]], quality.good)
        else:
            unflagged |= there
        refusals.samples("no flag", int((there & absent & usable).sum()))
        refusals.samples("flag of the value", int((there & ~good & ~absent & usable).sum()))
        refusals.samples("flag of the depth", int((there & ~usable).sum()))
        values[name] = np.where(there & good & usable, value, np.nan)
    if unflagged.any():
        refusals.note("without quality flags", int(unflagged.sum()))
    return np.where(usable, depth, np.nan), values


def _good(flags: pd.Series, accepted: Sequence[int | str]) -> tuple[np.ndarray, np.ndarray]:
    """Where flags are good, and where there is none."""
    text = pd.Series(cf_decoding.words(_text(flags)))
    # A column of whole numbers that has gaps may be written with fractions.
    spellings = {f"{flag}{fraction}" for flag in accepted for fraction in ("", ".0")}
    return text.isin(spellings).to_numpy(), text.isin(["", "nan"]).to_numpy()


def _text(column: pd.Series) -> np.ndarray:
    """Numbers as they are; text as str, empty where missing."""
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy()
    return column.astype(object).where(column.notna(), "").astype(str).to_numpy(dtype=str)


def _numbers(column: pd.Series) -> np.ndarray:
    """float64, NaN where there is no number."""
    return pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)


def _times(column: pd.Series, name: str) -> np.ndarray:
    """datetime64[us] in UTC; NaT where there is no date of ISO 8601: with other orders of day and month one cannot be sure."""
    if not pd.api.types.is_datetime64_any_dtype(column):
        text = column.dropna().astype(str)
        # Eight digits are a date of ISO 8601.
        if len(text) and re.fullmatch(r"(?!\d{8}$)-?\d+(\.\d*)?", text.iloc[0]):
            raise UserError(
                f"{name} holds numbers such as {text.iloc[0]}; expected dates such as 2016-01-31T12:00 (ISO 8601)"
            )
        column = pd.to_datetime(column.astype(str), utc=True, format="ISO8601", errors="coerce")
    return pd.to_datetime(column, utc=True).dt.tz_localize(None).to_numpy("datetime64[us]")


def _check_one_time(time: np.ndarray, first: np.ndarray, profiles: pd.Series) -> None:
    """Raise UserError where the rows of one profile are more than a day apart."""
    days = np.where(np.isnat(time), np.nan, time.astype("datetime64[s]").astype(np.float64) / 86400)
    span = np.fmax.reduceat(days, first) - np.fmin.reduceat(days, first)
    if (span > 1).any():
        raise UserError(
            f"the rows of profile {profiles.iloc[int(np.nanargmax(span))]} are more than a day apart; "
            "set columns.platform=NAME where each platform numbers its own profiles, or columns.profile=NAME of another column"
        )
