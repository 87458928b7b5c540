"""Small files in the layouts of Argo and EN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

Levels = Sequence[Sequence[float]]


def _padded(rows: Levels, fill: float) -> np.ndarray:
    width = max(map(len, rows))
    return np.array([[*row, *[fill] * (width - len(row))] for row in rows], np.float32)


def _characters(words: Sequence[str], width: int) -> np.ndarray:
    return np.array([list(word.ljust(width)[:width]) for word in words], "S1")


def write_argo(path: Path, profiles: Sequence[Mapping[str, Any]]) -> Path:
    """A file of some profiles: `pres`, `temp`, `psal` and their `_qc`, `_adjusted` and `_adjusted_qc`, and what `PROFILE` has."""
    default: dict[str, Any] = {
        "platform": "5900446", "cycle": 1, "direction": "A", "mode": "R", "juld": 24_106.25, "juld_qc": "1",
        "latitude": -20.0, "longitude": 80.0, "position_qc": "1", "scheme": "Primary sampling: averaged []",
    }  # fmt: skip
    rows = [{**default, **profile} for profile in profiles]
    with netCDF4.Dataset(path, "w") as file:
        levels = max(len(row["pres"]) for row in rows)
        sizes = {"N_PROF": len(rows), "N_LEVELS": levels, "STRING8": 8, "STRING256": 256}
        for name, size in sizes.items():
            file.createDimension(name, size)

        def put(name: str, dimensions: tuple[str, ...], values: Any, kind: str, **attributes: Any) -> None:
            fill = attributes.pop("_FillValue", None)
            variable = file.createVariable(name, kind, dimensions, fill_value=fill, zlib=bool(dimensions))
            variable.set_auto_maskandscale(False)
            variable.setncatts(attributes)
            variable[:] = values

        put("PLATFORM_NUMBER", ("N_PROF", "STRING8"), _characters([row["platform"] for row in rows], 8), "S1")
        put(
            "VERTICAL_SAMPLING_SCHEME",
            ("N_PROF", "STRING256"),
            _characters([row["scheme"] for row in rows], 256),
            "S1",
        )
        put("CYCLE_NUMBER", ("N_PROF",), [row["cycle"] for row in rows], "i4", _FillValue=99999)
        for name in ("direction", "juld_qc", "position_qc"):
            put(name.upper(), ("N_PROF",), np.array([row[name] for row in rows], "S1"), "S1")
        put("DATA_MODE", ("N_PROF",), np.array([row["mode"] for row in rows], "S1"), "S1")
        put("JULD", ("N_PROF",), [row["juld"] for row in rows], "f8", _FillValue=999999.0)
        for name in ("latitude", "longitude"):
            put(name.upper(), ("N_PROF",), [row[name] for row in rows], "f8", _FillValue=99999.0)
        for name in ("pres", "temp", "psal"):
            if not any(name in row or f"{name}_adjusted" in row for row in rows):
                continue
            for suffix in ("", "_adjusted"):
                values = [row.get(name + suffix, []) for row in rows]
                flags = [
                    row.get(f"{name}{suffix}_qc", "1" * len(each))
                    for row, each in zip(rows, values, strict=True)
                ]
                array = _padded([*values, [99999.0] * levels], 99999.0)[:-1]
                put(
                    (name + suffix).upper(), ("N_PROF", "N_LEVELS"), array, "f4", _FillValue=np.float32(99999)
                )
                put(f"{name}{suffix}_qc".upper(), ("N_PROF", "N_LEVELS"), _characters(flags, levels), "S1")
    return path


def write_en(path: Path, *, fill: str = "_FillValue", salinity: bool = False, **changes: Any) -> Path:
    """Three profiles of EN: good, of a rejected position, and with rejected and missing levels."""
    data: dict[str, Any] = {
        "JULD": [20.5, 21.0, 22.0], "LATITUDE": [0.0, 1.0, 2.0], "LONGITUDE": [60.0, 61.0, 62.0],
        "POSITION_QC": "141", "JULD_QC": "111",
        "DEPH_CORRECTED": [[0, 10, 20], [0, 10, 20], [0, 10, 99999]], "DEPH_CORRECTED_QC": ["111", "111", "110"],
        "POTM_CORRECTED": [[20, 19, 18], [20, 19, 18], [15, 14, 99999]], "POTM_CORRECTED_QC": ["111", "111", "140"],
        "PROFILE_POTM_QC": "111",
    }  # fmt: skip
    if salinity:
        data |= {"PSAL_CORRECTED": [[35, 35, 35]] * 3, "PSAL_CORRECTED_QC": ["111"] * 3}
    data |= changes
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("N_PROF", 3)
        file.createDimension("N_LEVELS", 3)
        for name, values in data.items():
            if values is None:
                continue
            is_flag = name.endswith("_QC")
            levels = not isinstance(values, str) and isinstance(values[0], list | str)
            dimensions = ("N_PROF", "N_LEVELS") if levels else ("N_PROF",)
            variable = file.createVariable(name, "S1" if is_flag else "f8", dimensions)
            variable.set_auto_maskandscale(False)
            if not is_flag:
                variable.setncattr(fill if fill != "_FillValue" else "missing_value", 99999.0)
            variable[:] = np.array(
                [list(v) for v in values] if levels else list(values), "S1" if is_flag else "f8"
            )
    return path
