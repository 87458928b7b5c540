"""Compare runs: `python scripts/compare.py runs=[multirun/DATE_TIME]`; see docs/sweeps.md."""

from depthdif.command_line import compare

if __name__ == "__main__":
    compare()
