"""Choose the length of the average after training: `python scripts/posthoc_ema.py run=runs/DATE_TIME`; see docs/ema.md."""

from depthdif.command_line import posthoc_ema

if __name__ == "__main__":
    posthoc_ema()
