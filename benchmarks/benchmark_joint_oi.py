"""Does temperature help the salinity around it? OI of both variables together and of each by itself, on validation patches.

Usage: python benchmarks/benchmark_joint_oi.py [OVERRIDE ...], such as data.validation_patches=64. Each has settings of its own,
fitted by scripts/fit_first_guess.py with and without model.first_guess.cross_covariance. No timings.
"""

from __future__ import annotations

import sys
from collections import defaultdict

import numpy as np
from hydra import compose, initialize_config_dir
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader

from depthdif.build import build_data
from depthdif.config_folder import CONF
from depthdif.evaluation.variable import EvaluatedVariable
from depthdif.first_guess.protocol import PatchData
from depthdif.scores.density import density_inversions

APART = (
    "cross_covariance=false", "covariance=0.68", "latitude_scale=341", "longitude_scale=455", "nugget=0.229",
    "variance=0.00656",
)  # fmt: skip
SETTINGS = {"together": (), "apart": APART}


def main() -> None:
    """Print the RMSE of each variable over unobserved cells, and the share of density inversions."""
    squares: dict[tuple[str, str], float] = defaultdict(float)
    counts: dict[tuple[str, str], int] = defaultdict(int)
    table = Table(title="OI of temperature and salinity")
    for heading in ("", *SETTINGS):
        table.add_column(heading)
    for name, settings in SETTINGS.items():
        overrides = [f"model.first_guess.{setting}" for setting in settings]
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("train", ["data=woa_salinity", "data.num_workers=0", *overrides, *sys.argv[1:]])
        data = build_data(cfg)
        first_guess = data._first_guess
        assert first_guess is not None
        for batch in DataLoader(data.validation_samples(), 8, collate_fn=data.collate):
            result = first_guess(PatchData.from_batch(batch))
            fields = []
            observed = batch["observed_mask"].numpy()
            temperature_alone = observed[:, : len(data.depths)] & ~observed[:, len(data.depths) :]
            for variable in EvaluatedVariable.all_of(data):
                truth, estimate = variable.truth(batch), variable.forecast(result).mean
                fields.append(np.where(truth.ocean, estimate, np.nan))
                cells = {"all unobserved cells": truth.scored}
                if variable.channels.start:
                    cells["where temperature alone is observed"] = truth.scored & temperature_alone
                for where, mask in cells.items():
                    key = f"RMSE of {variable.variable.name}, {where}"
                    squares[key, name] += float(np.square(estimate - truth.values)[mask].sum())
                    counts[key, name] += int(mask.sum())
            found = density_inversions(
                *fields, data.depths, batch["latitude"].numpy(), batch["longitude"].numpy()
            )
            squares["density inversions", name] += found.unstable
            counts["density inversions", name] += found.pairs
    for row in dict.fromkeys(row for row, _ in squares):
        shares = [squares[row, name] / counts[row, name] for name in SETTINGS]
        table.add_row(
            row, *(f"{share:.2%}" if "inversions" in row else f"{share**0.5:.4f}" for share in shares)
        )
    Console().print(table)


if __name__ == "__main__":
    main()
