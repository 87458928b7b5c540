"""What was refused while profiles were read, and why: one table a run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rich import box
from rich.table import Table

_SHOWN_FILES = 5


class Refusals:
    """Counts of refused profiles and samples by reason, of samples that were taken with a remark, and files that were skipped.

    Args:
        variable: name of the variable that is read, for the title of the table; "" where there is only one.

    Attributes:
        profile_counts, sample_counts, notes: by reason; counts may be 0.
        skipped: path and reason of each file.
        used_profiles, used_samples: what was taken.
        inside, outside: profiles inside and outside the region and the times; those outside are no refusals.
    """

    def __init__(self, variable: str = "") -> None:
        self.variable = variable
        self.profile_counts: Counter[str] = Counter()
        self.sample_counts: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        self.skipped: list[tuple[str, str]] = []
        self.files = self.used_profiles = self.used_samples = self.inside = self.outside = 0

    def profiles(self, reason: str, count: int) -> None:
        """Count refused profiles."""
        self.profile_counts[reason] += count

    def samples(self, reason: str, count: int) -> None:
        """Count refused samples of profiles that are used otherwise."""
        self.sample_counts[reason] += count

    def note(self, reason: str, count: int) -> None:
        """Count samples that were taken, with a remark."""
        self.notes[reason] += count

    def file(self, path: str | Path, reason: str) -> None:
        """Name a file that was skipped."""
        self.skipped.append((str(path), reason))

    def table(self) -> Table:
        """Reasons with the numbers of profiles and samples, and what was taken."""
        of = f"{self.variable} in " if self.variable else ""
        table = Table(title=f"Profiles of {of}{self.files} files", box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
        for heading in ("", "profiles", "samples"):
            table.add_column(heading, justify="right" if heading else "left")
        table.add_row("used", f"{self.used_profiles:,}", f"{self.used_samples:,}")
        for reason in [reason for reason, count in self.notes.items() if count]:
            table.add_row(f"  {reason}", "", f"{self.notes[reason]:,}")
        if self.outside:
            table.add_row("outside region and times", f"{self.outside:,}", "")
        for reason in dict.fromkeys([*self.profile_counts, *self.sample_counts]):
            profiles, samples = self.profile_counts[reason], self.sample_counts[reason]
            if profiles or samples:
                cells = (f"{count:,}" if count else "" for count in (profiles, samples))
                table.add_row(f"refused: {reason}", *cells)
        return table

    def lines(self) -> list[str]:
        """The files that were skipped, the first of them by name."""
        what = f"skipped for {self.variable}:" if self.variable else "skipped:"
        lines = [f"{what} {path} ({reason})" for path, reason in self.skipped[:_SHOWN_FILES]]
        if len(self.skipped) > _SHOWN_FILES:
            lines.append(f"{what} {len(self.skipped) - _SHOWN_FILES} more files")
        return lines

    def main_reasons(self) -> str:
        """The reasons with the largest counts, in words."""
        counts = [
            *(
                (count, f"{count:,} profiles: {reason}")
                for reason, count in self.profile_counts.items()
                if count
            ),
            *(
                (count, f"{count:,} samples: {reason}")
                for reason, count in self.sample_counts.items()
                if count
            ),
        ]
        reasons = [text for _, text in sorted(counts, reverse=True)[:3]]
        reasons += [f"{Path(path).name}: {reason}" for path, reason in self.skipped[:3]]
        return "; ".join(reasons) or "the files hold no profile"
