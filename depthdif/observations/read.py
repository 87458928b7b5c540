"""Reads profiles from any number of files, whatever their layout, cut to a region and a span of time."""

from __future__ import annotations

import dataclasses
import glob
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import netCDF4
import numpy as np
import xarray as xr
from rich.console import Console

from depthdif import UserError
from depthdif.observations import argo, cf_profiles, en4, table
from depthdif.observations.profiles import ProfileTable, RawProfiles
from depthdif.observations.quality import Quality
from depthdif.observations.refusals import Refusals
from depthdif.observations.seawater import to_variable, wanted
from depthdif.terminal import progress_bar

# Of files that are taken from a folder, where .txt is rather an index or a licence.
_SUFFIXES = (".nc", ".nc4", ".cdf", *(suffix for suffix in table.SUFFIXES if suffix != ".txt"))


@dataclasses.dataclass(frozen=True)
class Window:
    """A region and a span of time, ends included; longitudes modulo 360."""

    west: float
    east: float
    south: float
    north: float
    start: np.datetime64
    end: np.datetime64

    @classmethod
    def everything(cls) -> Window:
        """The globe at all times."""
        return cls(-180, 180, -90, 90, np.datetime64("0001-01-01", "s"), np.datetime64("9999-01-01", "s"))

    def holds(self, raw: RawProfiles) -> np.ndarray:
        """(N,) bool, the profiles inside."""
        width = self.east - self.west
        inside = (raw.longitude - self.west) % 360 <= (360 if width >= 360 else width % 360)
        inside &= (raw.latitude >= self.south) & (raw.latitude <= self.north)
        return inside & (raw.time >= self.start) & (raw.time <= self.end)


def read_profiles(
    paths: str | Sequence[str],
    standard_name: str,
    units: str,
    window: Window,
    quality: Quality,
    columns: Mapping[str, str | None] | None = None,
    console: Console | None = None,
) -> tuple[ProfileTable, Refusals]:
    """The profiles of one variable, and what was refused; see `read_variables`.

    Raises:
        FileNotFoundError: nothing matches a path.
        UserError: no file holds a usable profile, a variable that profiles cannot give, or columns that cannot be understood.
    """
    (found,) = read_variables(paths, {"": (standard_name, units)}, window, quality, columns, console)
    return found


def read_variables(
    paths: str | Sequence[str],
    variables: Mapping[str, tuple[str, str]],
    window: Window,
    quality: Quality,
    columns: Mapping[str, str | None] | None = None,
    console: Console | None = None,
) -> list[tuple[ProfileTable, Refusals]]:
    """The profiles of each variable inside a window, in the order of time, and what was refused of it.

    Files are read one after the other, for all variables, so that only profiles inside the window are held. A profile with good
    values of some variables alone is a profile of these. Of a cycle of a float that several Argo files hold, that of the latest
    processing is taken, or none where that one is refused.

    Args:
        paths: a file, a glob, a folder (all NetCDF, CSV and Parquet files below it), or a list of these.
        variables: standard_name and units by name; see `to_variable`.
        columns: of tables, see `table.read`.
        console: shows a progress bar; None shows none.

    Raises:
        FileNotFoundError: nothing matches a path.
        UserError: no file holds a usable profile of any variable, a variable that profiles cannot give, or columns that cannot
            be understood.
    """
    readings = [
        _Reading(standard_name, units, window, Refusals(name))
        for name, (standard_name, units) in variables.items()
    ]
    files = find_files(paths)
    with progress_bar(console or Console(quiet=True)) as bar:
        for path in bar.track(files, description="reading profiles"):
            for reading in readings:
                for raw in _read(path, reading.names, quality, columns or {}, reading.refusals):
                    reading.add(raw)
    tables = [reading.joined(len(files)) for reading in readings]
    refusals = [reading.refusals for reading in readings]
    # Where all lie outside of the window, the caller can say where they are.
    if not any(map(len, tables)) and not any(each.outside and not each.inside for each in refusals):
        reasons = "; ".join(
            f"no usable profile of {reading.standard_name} ({reading.refusals.main_reasons()})"
            for reading in readings
        )
        raise UserError(f"observations={paths}: {reasons}")
    return list(zip(tables, refusals, strict=True))


class _Reading:
    """The profiles of one variable, as they are found in files."""

    def __init__(self, standard_name: str, units: str, window: Window, refusals: Refusals) -> None:
        self.standard_name, self.units, self.window, self.refusals = standard_name, units, window, refusals
        self.names = wanted(standard_name)
        self._parts: list[ProfileTable] = []
        # Of the profiles in the parts, and of all that were found.
        self._identities: list[np.ndarray] = []
        self._ranks: list[np.ndarray] = []
        self._found: list[np.ndarray] = []
        self._found_ranks: list[np.ndarray] = []

    def add(self, raw: RawProfiles) -> None:
        """Take the profiles of a file, or of a block of it, that lie in the window."""
        self._found.append(raw.identities())
        self._found_ranks.append(raw.ranks())
        inside = self.window.holds(raw)
        self.refusals.outside += int((~inside & ~np.isnat(raw.time)).sum())
        self.refusals.inside += int(inside.sum())
        if inside.any():
            part, numbers = to_variable(raw.take(inside), self.standard_name, self.units, self.refusals)
            kept = np.flatnonzero(inside)[numbers]
            self._parts.append(part)
            self._identities.append(raw.identities()[kept])
            self._ranks.append(raw.ranks()[kept])

    def joined(self, files: int) -> ProfileTable:
        """The profiles of all of so many files, in the order of time."""
        self.refusals.files = files
        if not self._parts:
            return ProfileTable.empty()
        joined = ProfileTable.join(self._parts)
        order = np.argsort(np.concatenate([part.time for part in self._parts]), kind="stable")
        chosen = latest(
            np.concatenate(self._identities)[order],
            np.concatenate(self._ranks)[order],
            np.concatenate(self._found),
            np.concatenate(self._found_ranks),
        )
        self.refusals.profiles("the same cycle again", len(joined) - int(chosen.sum()))
        joined = joined.take(chosen)
        self.refusals.used_profiles, self.refusals.used_samples = len(joined), len(joined.value)
        return joined


def latest(
    identity: np.ndarray, rank: np.ndarray, found_identity: np.ndarray, found_rank: np.ndarray
) -> np.ndarray:
    """(N,) bool: of profiles with the same identity the first of the highest rank; all without an identity.

    Args:
        identity, rank: (N,) of the profiles to choose from.
        found_identity, found_rank: (M,) of these and of refused ones: where the highest rank is refused, none is chosen.
    """
    names, number = np.unique(found_identity, return_inverse=True)
    highest = np.full(len(names), np.iinfo(np.int64).min)
    np.maximum.at(highest, number, found_rank)
    chosen = identity == ""
    candidates = np.flatnonzero(~chosen & (rank == highest[np.searchsorted(names, identity)]))
    _, first = np.unique(identity[candidates], return_index=True)
    chosen[candidates[first]] = True
    return chosen


def find_files(paths: str | Sequence[str]) -> list[Path]:
    """The files of paths, globs and folders, each once; FileNotFoundError where one matches nothing."""
    found: dict[Path, None] = {}
    for pattern in [paths] if isinstance(paths, str) else paths:
        # The shell leaves a quoted ~ as it is.
        path = Path(pattern).expanduser()
        if path.is_dir():
            files = [file for file in sorted(path.rglob("*")) if str(file).lower().endswith(_SUFFIXES)]
        elif path.is_file():
            files = [path]
        else:
            files = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207 (absolute patterns)
        files = [file for file in files if file.is_file()]
        if not files:
            raise FileNotFoundError(
                f"observations={pattern}: no such file; expected a file, a quoted glob or a folder"
            )
        found |= dict.fromkeys(files)
    return list(found)


def _read(
    path: Path, names: Sequence[str], quality: Quality, columns: Mapping[str, str | None], refusals: Refusals
) -> Iterator[RawProfiles]:
    """The profiles of a file, block by block; a file that holds none is skipped and named."""
    if table.reads(path):
        blocks = table.read(path, names, columns, quality, refusals)
        try:
            first = next(blocks, None)
        except UserError as error:
            refusals.file(path, str(error).removeprefix(f"{path}: "))
            return
        if first is not None:
            yield first
            yield from blocks
        return
    try:
        file = netCDF4.Dataset(path)
    except OSError as error:
        refusals.file(path, f"no NetCDF file: {error.strerror}")
        return
    except UnicodeDecodeError as error:
        refusals.file(path, f"cannot be read: {error}")
        return
    with file:
        try:
            if argo.reads(file) or en4.reads(file):
                file.set_auto_maskandscale(False)
                file.set_auto_chartostring(False)
                yield (argo if argo.reads(file) else en4).read(file, names, quality, refusals)
                return
            dataset = xr.open_dataset(
                xr.backends.NetCDF4DataStore(file), decode_cf=False, mask_and_scale=False
            )
            if not cf_profiles.reads(dataset):
                refusals.file(path, "no file of profiles: neither Argo, EN nor CF with featureType=profile")
                return
            yield from cf_profiles.read(dataset, names, quality, refusals)
        except UserError as error:
            refusals.file(path, str(error))
        except (KeyError, IndexError) as error:
            refusals.file(path, f"lacks the variable {error}")
        except RuntimeError as error:
            # netCDF4 raises it where the data of a damaged file cannot be read.
            refusals.file(path, f"cannot be read: {error}")
