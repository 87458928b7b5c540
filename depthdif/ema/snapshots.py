"""A folder of snapshots of power-function averages: written during training, bounded in number, read afterwards.

Every snapshot is one safetensors file with the floating tensors of each average under "width_0.05/KEY"; `manifest.json` lists
them. A file is complete before the manifest lists it, and removed after the manifest has dropped it: whenever a run is
interrupted, the files in the manifest can be read.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from depthdif.ema.decay import PowerDecay

MANIFEST = "manifest.json"
FORMAT = "depthdif power-function averages, 1"


@dataclass(frozen=True)
class Snapshot:
    """One file of the folder.

    Attributes:
        file: its name.
        step: optimizer step at whose end it was taken.
        updates: time of its averages: updates until then, including skipped ones.
        widths: names of its averages, such as "width_0.05".
        bytes: size of the file.
    """

    file: str
    step: int
    updates: int
    widths: tuple[str, ...]
    bytes: int

    @property
    def decays(self) -> tuple[PowerDecay, ...]:
        """Decays of its averages."""
        return tuple(PowerDecay(float(width.removeprefix("width_"))) for width in self.widths)


@dataclass(frozen=True)
class Manifest:
    """The snapshots of a folder in the order of time, and the current number of steps between two."""

    every_n_steps: int
    snapshots: tuple[Snapshot, ...] = ()


def thinned(manifest: Manifest, keep: int) -> Manifest:
    """At most `keep` snapshots: while there are more, the steps between two double.

    Kept are the first after each multiple of the steps, and the last of all: between `keep` / 2 and `keep`, evenly spread
    over the run, and the same in a resumed run as in an uninterrupted one.
    """
    every, kept = manifest.every_n_steps, list(manifest.snapshots)
    while True:
        before = [0, *(snapshot.step for snapshot in kept)]
        pairs = zip(before, kept, strict=False)
        kept = [s for step, s in pairs if s.step // every > step // every or s is manifest.snapshots[-1]]
        if len(kept) <= keep:
            return Manifest(every, tuple(kept))
        every *= 2


def write_snapshot(
    folder: Path,
    manifest: Manifest,
    averages: Mapping[str, Mapping[str, Tensor]],
    step: int,
    updates: int,
    dtype: torch.dtype,
    keep: int,
) -> Manifest:
    """Add a snapshot of averages, by width, to a folder, and remove those beyond `keep`."""
    tensors = {
        f"{width}/{key}": _stored(tensor, dtype)
        for width, average in averages.items()
        for key, tensor in average.items()
        if (tensor.is_floating_point() or tensor.is_complex()) and bool(torch.isfinite(tensor).all())
    }
    path = folder / f"step-{step:08d}.safetensors"
    with _written_beside(path) as unfinished:
        unfinished.touch()
        mode = unfinished.stat().st_mode
        save_file(tensors, unfinished)
        unfinished.chmod(mode)  # safetensors makes files that only the owner may read
    new = Snapshot(path.name, step, updates, tuple(averages), path.stat().st_size)
    earlier = tuple(snapshot for snapshot in manifest.snapshots if snapshot.step < step)
    manifest = thinned(Manifest(manifest.every_n_steps, (*earlier, new)), keep)
    write_manifest(folder, manifest)
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest, then remove the files that it does not list."""
    rows = ",\n  ".join(json.dumps(asdict(snapshot)) for snapshot in manifest.snapshots)
    head = f'{{"format": {json.dumps(FORMAT)}, "every_n_steps": {manifest.every_n_steps}, "snapshots": ['
    with _written_beside(folder / MANIFEST) as unfinished:
        unfinished.write_text(f"{head}\n  {rows}\n]}}\n", encoding="utf-8")
    listed = {snapshot.file for snapshot in manifest.snapshots}
    for path in folder.glob("step-*"):
        if path.name not in listed:
            path.unlink()


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder of snapshots.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it cannot be read, or lists no snapshot.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder}: no snapshots of power-function averages; train with model/ema=power first"
        )
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        every = int(content["every_n_steps"])
        rows = [Snapshot(**{**row, "widths": tuple(row["widths"])}) for row in content["snapshots"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: truncated or no manifest of snapshots ({error!r})") from error
    if not rows:
        raise ValueError(f"{path}: lists no snapshot; train with model/ema=power first")
    return Manifest(every, tuple(rows))


def inherit(folder: Path, earlier: Path, updates: int) -> Manifest | None:
    """Copy the snapshots of the resumed run, up to the time of its checkpoint, into the folder of the new one.

    Files are linked where the disk allows it. None when there are none to copy.
    """
    manifest = read_manifest(earlier)
    snapshots = tuple(snapshot for snapshot in manifest.snapshots if snapshot.updates <= updates)
    if not snapshots:
        return None
    for snapshot in snapshots if folder.resolve() != earlier.resolve() else ():
        with _written_beside(folder / snapshot.file) as unfinished:
            unfinished.unlink(missing_ok=True)
            try:
                os.link(earlier / snapshot.file, unfinished)
            except FileNotFoundError:
                raise
            except OSError:  # another disk, or one that cannot link
                shutil.copyfile(earlier / snapshot.file, unfinished)
    manifest = Manifest(manifest.every_n_steps, snapshots)
    write_manifest(folder, manifest)
    return manifest


def shapes_in(folder: Path, snapshot: Snapshot) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor of an average of a snapshot; reads the head of the file only.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is truncated, no snapshot, or its averages differ in shape.
    """
    path = folder / snapshot.file
    advice = f"to go on without it, remove its line from {folder / MANIFEST}"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: the manifest lists it, but there is no such file; {advice}")
    if (size := path.stat().st_size) != snapshot.bytes:
        raise ValueError(
            f"{path}: truncated or overwritten ({size} bytes, written were {snapshot.bytes}); {advice}"
        )
    averages: dict[str, dict[str, tuple[int, ...]]] = {width: {} for width in snapshot.widths}
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                width, _, key = name.partition("/")
                averages.setdefault(width, {})[key] = tuple(file.get_slice(name).get_shape())
    except SafetensorError as error:
        raise ValueError(f"{path}: no safetensors file ({error}); {advice}") from error
    first, *others = averages.values()
    if any(other != first for other in others):
        raise ValueError(f"{path}: its averages are of two architectures; set the folder of one run")
    return first


def _stored(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy in the dtype, or in its own where that is narrower or values would overflow. Tied tensors become two."""
    if tensor.is_complex() or tensor.element_size() <= dtype.itemsize:
        return tensor.clone(memory_format=torch.contiguous_format)
    narrow = tensor.to(dtype).contiguous()
    return narrow if bool(torch.isfinite(narrow).all()) else tensor.contiguous()


@contextmanager
def _written_beside(path: Path) -> Iterator[Path]:
    """Yield a path beside `path`, which becomes `path` at the end; this package imports nothing of the others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.stem}.unfinished{path.suffix}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
