"""A folder of snapshots of power-function averages: written during training, bounded in number, read afterwards.

Every snapshot is one safetensors file with the floating tensors of each average under "width_0.05/KEY"; `manifest.json` lists
them. A file is complete before the manifest names it, and no longer named before it goes: whenever a run is cut off, what the
manifest lists can be read.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

MANIFEST = "manifest.json"
FORMAT = "depthdif power-function averages, 1"


@dataclass(frozen=True)
class Snapshot:
    """One file of the folder.

    Attributes:
        file: its name.
        step: optimizer step at whose end it was taken.
        updates: time of its averages: updates until then, skipped ones counted.
        widths: names of its averages, such as "width_0.05".
        bytes: size of the file.
    """

    file: str
    step: int
    updates: int
    widths: tuple[str, ...]
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """What a folder holds, in the order of time, and the steps between two snapshots at present."""

    every_n_steps: int
    snapshots: tuple[Snapshot, ...] = ()


def thinned(manifest: Manifest, keep: int) -> Manifest:
    """At most `keep` snapshots: while there are more, the steps between two double.

    A snapshot is due when a multiple of the steps is passed; any other goes, except the last of all. So `keep` / 2 to
    `keep` are there at any moment, evenly spread over the run, however long it gets; and a run that was resumed holds
    what the uninterrupted one would.
    """
    every, kept = manifest.every_n_steps, on_grid(manifest.snapshots, manifest.every_n_steps)
    while len(kept) > keep:
        every *= 2
        kept = on_grid(kept, every)
    return Manifest(every, kept)


def on_grid(snapshots: Sequence[Snapshot], every: int) -> tuple[Snapshot, ...]:
    """Those that passed a multiple of `every` steps, and the last of all."""
    kept, before = [], 0
    for snapshot in snapshots:
        if snapshot.step // every > before // every or snapshot is snapshots[-1]:
            kept.append(snapshot)
            before = snapshot.step
    return tuple(kept)


def write_snapshot(
    folder: Path,
    manifest: Manifest,
    averages: Mapping[str, Mapping[str, Tensor]],
    step: int,
    updates: int,
    dtype: torch.dtype,
    keep: int,
) -> Manifest:
    """Add averages, by name of their width, to a folder, and let go of those that are too many."""
    tensors = {
        f"{width}/{key}": _stored(tensor, dtype)
        for width, average in averages.items()
        for key, tensor in average.items()
        if (tensor.is_floating_point() or tensor.is_complex()) and bool(torch.isfinite(tensor).all())
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:08d}.safetensors"
    unfinished = path.with_suffix(".unfinished")
    unfinished.touch()
    mode = unfinished.stat().st_mode
    save_file(tensors, unfinished)
    unfinished.chmod(mode)  # safetensors makes files that nobody else may read
    unfinished.replace(path)
    new = Snapshot(path.name, step, updates, tuple(averages), path.stat().st_size)
    earlier = tuple(snapshot for snapshot in manifest.snapshots if snapshot.step < step)
    manifest = thinned(Manifest(manifest.every_n_steps, (*earlier, new)), keep)
    write_manifest(folder, manifest)
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest beside the old one, put it in its place, then remove what it does not name."""
    rows = ",\n  ".join(json.dumps(asdict(snapshot)) for snapshot in manifest.snapshots)
    unfinished = folder / "manifest.unfinished"
    unfinished.write_text(
        f'{{"format": {json.dumps(FORMAT)}, "every_n_steps": {manifest.every_n_steps}, "snapshots": [\n  {rows}\n]}}\n',
        encoding="utf-8",
    )
    unfinished.replace(folder / MANIFEST)
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
    """Take the snapshots of the run resumed, up to the time of its checkpoint, into the folder of the new one.

    Files are linked where the disk allows it, else copied. None when there are none to take.
    """
    manifest = read_manifest(earlier)
    taken = [snapshot for snapshot in manifest.snapshots if snapshot.updates <= updates]
    if not taken:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    for snapshot in taken if folder.resolve() != earlier.resolve() else ():
        unfinished = folder / f"{snapshot.file}.unfinished"
        unfinished.unlink(missing_ok=True)
        try:
            os.link(earlier / snapshot.file, unfinished)
        except FileNotFoundError:
            raise
        except OSError:  # another disk, or one that cannot link
            shutil.copyfile(earlier / snapshot.file, unfinished)
        unfinished.replace(folder / snapshot.file)
    manifest = Manifest(manifest.every_n_steps, tuple(taken))
    write_manifest(folder, manifest)
    return manifest


def shapes_in(folder: Path, snapshot: Snapshot) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor of a snapshot by its name in the file; reads the head of the file alone.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is truncated or no snapshot.
    """
    path = folder / snapshot.file
    if not path.is_file():
        raise FileNotFoundError(f"{path}: the manifest lists it, but there is no such file; {_without(path)}")
    if path.stat().st_size != snapshot.bytes:
        raise ValueError(
            f"{path}: truncated or overwritten ({path.stat().st_size} bytes, written were {snapshot.bytes}); {_without(path)}"
        )
    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path}: no safetensors file ({error}); {_without(path)}") from error


def _stored(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy in at most so many bytes; a tensor that float16 cannot hold stays as it is. Tied tensors become two."""
    if tensor.is_complex() or tensor.element_size() <= dtype.itemsize:
        return tensor.clone(memory_format=torch.contiguous_format)
    narrow = tensor.to(dtype).contiguous()
    return narrow if bool(torch.isfinite(narrow).all()) else tensor.contiguous()


def _without(path: Path) -> str:
    return f"to go on without it, remove its line from {path.parent / MANIFEST}"
