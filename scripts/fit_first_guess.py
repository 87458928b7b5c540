"""Fit a first guess to the training region: `python scripts/fit_first_guess.py data=glorys`; see docs/first_guess.md."""

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from depthdif.command_line import readable_errors


@hydra.main(version_base="1.3", config_path="../conf", config_name="fit_first_guess")
def main(cfg: DictConfig) -> float:
    # Heavy imports belong to the job: --help answers without them.
    from depthdif.first_guess.fit import fit_first_guess

    return fit_first_guess(cfg, list(HydraConfig.get().overrides.task))


if __name__ == "__main__":
    with readable_errors("fit_first_guess"):
        main()
