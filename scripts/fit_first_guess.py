"""Fit a first guess to the training region: `python scripts/fit_first_guess.py data=glorys`; see docs/first_guess.md."""

from depthdif.command_line import fit_first_guess

if __name__ == "__main__":
    fit_first_guess()
