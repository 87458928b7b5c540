"""Averages that nobody tracked, out of the snapshots of a run."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from depthdif.ema.law import Decay, PowerDecay, described
from depthdif.ema.posthoc import Combination, closest_combination
from depthdif.ema.snapshots import Snapshot, read_manifest, shapes_in

# Relative distance between the profile wanted and the closest one, beyond which it is another average. Measured on a run
# of 600 steps: at 5 % the error is up to a third of the distance between the average and the weights, docs/ema.md.
WORST_FIT = 0.05


class SnapshotAverages:
    """The snapshots of a run up to a step, and any average at the time of the last of them.

    Args:
        folder: `ema_snapshots` in the folder of a run.
        until: optimizer step after which snapshots are left out; null takes all.

    Attributes:
        snapshots: those that count, in the order of time.
        shapes: of the tensors of an average, by canonical key.

    Raises:
        FileNotFoundError, ValueError: no snapshots, a truncated file, or files of different architectures.
    """

    def __init__(self, folder: str | Path, until: int | None = None) -> None:
        self.folder = Path(folder)
        listed = read_manifest(self.folder).snapshots
        self.snapshots = [s for s in listed if until is None or s.step <= until]
        if not self.snapshots:
            raise ValueError(
                f"{self.folder}: the first snapshot was taken at step {listed[0].step}, and the checkpoint at step {until}; "
                "type a later checkpoint, such as checkpoint=runs/DATE_TIME/checkpoints/last.ckpt"
            )
        of_files = [self._shapes(snapshot) for snapshot in self.snapshots]
        self.shapes = of_files[-1]
        for snapshot, shapes in zip(self.snapshots, of_files, strict=True):
            if shapes != self.shapes:
                odd = sorted(key for key, _ in shapes.items() ^ self.shapes.items())[0]
                raise ValueError(
                    f"{self.folder}: {snapshot.file} and {self.snapshots[-1].file} are of two architectures, they differ in "
                    f"{odd}; type the folder of one run"
                )

    @property
    def updates(self) -> int:
        """Time of the averages: updates until the last snapshot."""
        return self.snapshots[-1].updates

    @property
    def step(self) -> int:
        """Optimizer step of the last snapshot."""
        return self.snapshots[-1].step

    @property
    def tracked(self) -> tuple[PowerDecay, ...]:
        """Laws of the averages in the last snapshot."""
        return tuple(map(law_of, self.snapshots[-1].widths))

    def closest(self, decay: Decay) -> Combination:
        """Coefficients of all averages in all snapshots, in the order of time and within a file, for the average of `decay`.

        Raises:
            ValueError: the snapshots are too much alike to be told apart.
        """
        laws = [law_of(width) for s in self.snapshots for width in s.widths]
        times = [s.updates for s in self.snapshots for _ in s.widths]
        return closest_combination(decay, self.updates, laws, times)

    def close(self, decay: Decay) -> Combination:
        """The same, where it is close enough to be called the average of `decay`.

        Raises:
            ValueError: the snapshots are too few for it, see `WORST_FIT`.
        """
        found = self.closest(decay)
        if found.fit_error > WORST_FIT:
            raise ValueError(
                f"{described(decay)}: {len(self.snapshots)} snapshots are too few to rebuild it, the closest profile is "
                f"{100 * found.fit_error:.1f} % away (at most {100 * WORST_FIT:.0f} %); type one nearer to the tracked "
                f"{', '.join(map(described, self.tracked))}, or train with callbacks.ema_snapshots.keep=64"
            )
        return found

    def rebuild(self, combination: Combination) -> dict[str, Tensor]:
        """The average of a combination, by canonical key: sums in float64, tensors in float32 (or wider, as the model's).

        It holds what the snapshots hold, and that is every tensor that is averaged.
        """
        weights: dict[str, Tensor] = {}
        with ExitStack() as stack, torch.no_grad():
            held = [
                (stack.enter_context(safe_open(self.folder / s.file, framework="pt")), width)
                for s in self.snapshots
                for width in s.widths
            ]
            for key in self.shapes:
                total = torch.zeros((), dtype=torch.float64)
                for (file, width), coefficient in zip(held, combination.coefficients, strict=True):
                    tensor = file.get_tensor(f"{width}/{key}")
                    total = total + float(coefficient) * tensor.to(wide(tensor.dtype))
                weights[key] = total.to(torch.promote_types(tensor.dtype, torch.float32))
        return weights

    def _shapes(self, snapshot: Snapshot) -> dict[str, tuple[int, ...]]:
        """Shapes of one average; every average of a file must have the same."""
        shapes = shapes_in(self.folder, snapshot)
        averages = [
            {
                name.removeprefix(f"{width}/"): shape
                for name, shape in shapes.items()
                if name.startswith(f"{width}/")
            }
            for width in snapshot.widths
        ]
        if any(average != averages[0] for average in averages):
            raise ValueError(
                f"{self.folder / snapshot.file}: its averages are of two architectures; type the folder of one run"
            )
        return averages[0]


def law_of(width: str) -> PowerDecay:
    """The law that a manifest calls "width_0.05"."""
    return PowerDecay(float(width.removeprefix("width_")))


def wide(dtype: torch.dtype) -> torch.dtype:
    """Double precision, real or complex."""
    return torch.complex128 if dtype.is_complex else torch.float64
