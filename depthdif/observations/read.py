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
    columns: Mapping[str, str] | None = None,
    console: Console | None = None,
) -> tuple[ProfileTable, Refusals]:
    """The profiles of a variable inside a window, in the order of time, and what was refused.

    Files are read one after the other, so that only profiles inside the window are held. Of a cycle of a float that several
    Argo files hold, that of the latest processing is taken, or none where that one is refused.

    Args:
        paths: a file, a glob, a folder (all NetCDF, CSV and Parquet files below it), or a list of these.
        standard_name, units: of the variable; see `to_variable`.
        columns: of tables, see `table.read`.
        console: shows a progress bar; None shows none.

    Raises:
        FileNotFoundError: nothing matches a path.
        UserError: no file holds a usable profile, a variable that profiles cannot give, or columns that cannot be understood.
    """
    refusals, names = Refusals(), wanted(standard_name)
    files = find_files(paths)
    parts: list[ProfileTable] = []
    # Of the profiles in `parts`, and of all that were found.
    identities: list[np.ndarray] = []
    ranks: list[np.ndarray] = []
    found: list[np.ndarray] = []
    found_ranks: list[np.ndarray] = []
    with progress_bar(console or Console(quiet=True)) as bar:
        for path in bar.track(files, description="reading profiles"):
            for raw in _read(path, names, quality, columns or {}, refusals):
                found.append(raw.identities())
                found_ranks.append(raw.ranks())
                inside = window.holds(raw)
                refusals.outside += int((~inside & ~np.isnat(raw.time)).sum())
                if inside.any():
                    part, numbers = to_variable(raw.take(inside), standard_name, units, refusals)
                    kept = np.flatnonzero(inside)[numbers]
                    parts.append(part)
                    identities.append(raw.identities()[kept])
                    ranks.append(raw.ranks()[kept])
    refusals.files = len(files)
    if not parts:
        if not refusals.outside:
            raise UserError(
                f"observations={paths}: no usable profile of {standard_name} ({refusals.main_reasons()})"
            )
        return ProfileTable.empty(), refusals
    joined = ProfileTable.join(parts)
    order = np.argsort(np.concatenate([part.time for part in parts]), kind="stable")
    chosen = latest(
        np.concatenate(identities)[order],
        np.concatenate(ranks)[order],
        np.concatenate(found),
        np.concatenate(found_ranks),
    )
    refusals.profiles("the same cycle again", len(joined) - int(chosen.sum()))
    joined = joined.take(chosen)
    if not len(joined):
        raise UserError(
            f"observations={paths}: no usable profile of {standard_name} ({refusals.main_reasons()})"
        )
    refusals.used_profiles, refusals.used_samples = len(joined), len(joined.value)
    return joined, refusals


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
    path: Path, names: Sequence[str], quality: Quality, columns: Mapping[str, str], refusals: Refusals
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
