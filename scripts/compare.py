"""Compare runs: `python scripts/compare.py runs=[multirun/DATE_TIME]` writes a page, a picture and a verdict; see docs/ema.md."""

import hydra
from omegaconf import DictConfig

from depthdif.command_line import readable_errors


@hydra.main(version_base="1.3", config_path="../conf", config_name="compare")
def main(cfg: DictConfig) -> None:
    # Heavy imports belong to the job: --help answers without them.
    from depthdif.comparison.compare import compare

    compare(cfg.runs, cfg.output_dir, cfg.megabytes)


if __name__ == "__main__":
    with readable_errors("compare"):
        main()
