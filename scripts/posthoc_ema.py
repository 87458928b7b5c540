"""Choose the length of the average after training: `python scripts/posthoc_ema.py run=runs/DATE_TIME`; see docs/ema.md."""

import hydra
from omegaconf import DictConfig

from depthdif.command_line import readable_errors


@hydra.main(version_base="1.3", config_path="../conf", config_name="posthoc_ema")
def main(cfg: DictConfig) -> float:
    # Heavy imports belong to the job: --help answers without them.
    from depthdif.posthoc_ema.posthoc import posthoc
    from depthdif.training import silence_libraries

    silence_libraries()
    return posthoc(cfg)


if __name__ == "__main__":
    with readable_errors("posthoc_ema"):
        main()
