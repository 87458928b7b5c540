"""The panels of all runs, compressed to fit into one page."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator, Sequence
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
        """Every step that some panel shows, ascending."""
        return sorted(
            {s for variants in self.places.values() for by_step in variants.values() for s in by_step}
        )


def collect_panels(runs: Sequence[Run], most_bytes: float) -> Panels:
    """Recompress the panels of all runs until `most_bytes` of page are used.

    The last step of each run comes first, then steps evenly spread over the whole, so that what has to be left out thins the
    slider rather than cuts it. Identical files (the standard weights of a sweep of decays) are kept once. A picture that
    cannot be read is left out and named.
    """
    panels = Panels()
    index_of: dict[str, int | None] = {}
    used, is_full = 0.0, False
    left_out: set[int] = set()
    batch = 2 * workers()
    wanted = list(in_order(runs))
    with ThreadPoolExecutor(workers()) as pool:
        for first in range(0, len(wanted), batch):
            part = wanted[first : first + batch]
            digests = list(pool.map(lambda item: digest(item[3]), part))
            new = {key: item[3] for key, item in zip(digests, part, strict=True) if key not in index_of}
            if not is_full:
                for key, uri in zip(new, pool.map(recompressed, new.values()), strict=True):
                    if uri is None:
                        index_of[key] = None
                        panels.remarks.append(f"{new[key]} is no readable picture")
                    elif used + len(uri) <= most_bytes:
                        index_of[key] = len(panels.pictures)
                        panels.pictures.append(uri)
                        used += len(uri)
                    else:
                        is_full = True
            for key, (run, variant, step, _) in zip(digests, part, strict=True):
                if key not in index_of:
                    left_out.add(step)
                elif (index := index_of[key]) is not None:
                    panels.places.setdefault(run.name, {}).setdefault(variant, {})[step] = index
    if left_out:
        panels.remarks.append(
            f"panels of {len(left_out)} steps are left out, some or all of each, to keep the page below its size; "
            "set megabytes=40 for more"
        )
    return panels


def in_order(runs: Sequence[Run]) -> Iterator[tuple[Run, str, int, Path]]:
    """Every panel as run, variant, step and file: the most needed steps first."""
    steps = sorted({step for run in runs for by_step in run.panels.values() for step in by_step})
    last = {
        id(run): max((step for by_step in run.panels.values() for step in by_step), default=0) for run in runs
    }
    for run in runs:
        for variant, by_step in run.panels.items():
            if last[id(run)] in by_step:
                yield run, variant, last[id(run)], by_step[last[id(run)]]
    for step in spread(steps):
        for run in runs:
            for variant, by_step in run.panels.items():
                if step in by_step and step != last[id(run)]:
                    yield run, variant, step, by_step[step]


def spread(steps: Sequence[int]) -> list[int]:
    """The first, then the middle of the widest gap, again and again: any beginning of the list is evenly spread."""
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
    """Names the content of a file; a file that vanished counts as one of its own."""
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError:
        return str(path)


def recompressed(path: Path) -> str | None:
    """A picture as data URI of a PNG with a palette; None where it cannot be read, or is only half there."""
    try:
        with Image.open(path) as picture:
            small = picture.convert("RGB").quantize(
                COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
            )
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError):
        # Pillow raises SyntaxError for a PNG whose chunks are broken.
        return None
    written = io.BytesIO()
    small.save(written, "PNG", compress_level=COMPRESSION)
    return "data:image/png;base64," + base64.b64encode(written.getvalue()).decode()


def workers() -> int:
    """Threads: Pillow works outside of the interpreter's lock."""
    return os.cpu_count() or 1
