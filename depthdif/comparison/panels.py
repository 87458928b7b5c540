"""The panels of all runs, compressed to fit into one page."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from depthdif.comparison.run import Run

# Maps on two colour scales with text around them: a palette keeps them sharp at a third of the bytes.
COLOURS = 256
# Half the time of Pillow's default, for a fifth more bytes: a page of 20 runs is a matter of seconds.
COMPRESSION = 3


@dataclass
class Panels:
    """Pictures for the page.

    Attributes:
        pictures: data URIs, each picture once.
        places: run name -> variant -> step -> index of the picture.
        remarks: what was left out and why.
    """

    pictures: list[str] = field(default_factory=list)
    places: dict[str, dict[str, dict[int, int]]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    @property
    def steps(self) -> list[int]:
        """Every step with a panel, ascending."""
        variants = [by_step for places in self.places.values() for by_step in places.values()]
        return sorted({step for by_step in variants for step in by_step})


def collect_panels(runs: Sequence[Run], most_bytes: float) -> Panels:
    """Recompress the panels of all runs until `most_bytes` of page are used.

    The last step of each run comes first, then steps evenly spread over the whole, so that the slider becomes coarser
    rather than shorter. Identical files (the standard weights of a sweep of decays) are kept once. A picture that cannot be
    read is left out with a remark.
    """
    panels = Panels()
    ordered = in_order(runs)
    index_of: dict[str, int | None] = {}
    used, batch = 0, 2 * workers()
    with ThreadPoolExecutor(workers()) as pool:
        digests = list(pool.map(digest, (path for *_, path in ordered)))
        path_of: dict[str, Path] = {}
        for key, (*_, path) in zip(digests, ordered, strict=True):
            path_of.setdefault(key, path)
        for first in range(0, len(path_of), batch):
            part = dict(list(path_of.items())[first : first + batch])
            for (key, path), uri in zip(part.items(), pool.map(recompressed, part.values()), strict=True):
                if uri is None:
                    index_of[key] = None
                    panels.remarks.append(f"{path} is no readable picture")
                elif (used := used + len(uri)) <= most_bytes:
                    index_of[key] = len(panels.pictures)
                    panels.pictures.append(uri)
            if used > most_bytes:
                break
    left_out: set[int] = set()
    for key, (run, variant, step, _) in zip(digests, ordered, strict=True):
        if key not in index_of:
            left_out.add(step)
        elif (index := index_of[key]) is not None:
            panels.places.setdefault(run, {}).setdefault(variant, {})[step] = index
    if left_out:
        panels.remarks.append(
            f"panels of {len(left_out)} steps are left out, some or all of each, to keep the page below its size; "
            "set megabytes=40 for more"
        )
    return panels


def in_order(runs: Sequence[Run]) -> list[tuple[str, str, int, Path]]:
    """Every panel as name of the run, variant, step and file: the last step of each run first, then the others, spread."""
    items = [
        (run.name, variant, step, path)
        for run in runs
        for variant, by_step in run.panels.items()
        for step, path in by_step.items()
    ]
    last: dict[str, int] = {}
    for run, _, step, _ in items:
        last[run] = max(step, last.get(run, 0))
    position = {step: index for index, step in enumerate(spread(sorted({step for _, _, step, _ in items})))}
    return sorted(items, key=lambda item: -1 if item[2] == last[item[0]] else position[item[2]])


def spread(steps: Sequence[int]) -> list[int]:
    """First and last, then the middle of the widest gap, again and again: any beginning of the list is evenly spread."""
    if len(steps) < 3:
        return list(steps)
    order, gaps = [0, len(steps) - 1], [(0, len(steps) - 1)]
    while gaps:
        low, high = gaps.pop(0)
        if high - low > 1:
            middle = (low + high) // 2
            order.append(middle)
            gaps += [(low, middle), (middle, high)]
    return [steps[index] for index in order]


def digest(path: Path) -> str:
    """A hash of the content of a file; the path of a file that has disappeared."""
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError:
        return str(path)


def recompressed(path: Path) -> str | None:
    """A picture as data URI of a PNG with a palette; None where it cannot be read, or is truncated."""
    try:
        with Image.open(path) as picture:
            small = picture.convert("RGB").quantize(
                COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
            )
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError):
        # Pillow raises SyntaxError for a PNG whose chunks are broken.
        return None
    buffer = io.BytesIO()
    small.save(buffer, "PNG", compress_level=COMPRESSION)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def workers() -> int:
    """Number of threads: Pillow releases the interpreter's lock."""
    return os.cpu_count() or 1
