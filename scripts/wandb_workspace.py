"""A W&B workspace with standard and EMA weights side by side: `python scripts/wandb_workspace.py`; see docs/wandb.md."""

import hydra
from omegaconf import DictConfig

from depthdif.command_line import readable_errors


@hydra.main(version_base="1.3", config_path="../conf", config_name="wandb_workspace")
def main(cfg: DictConfig) -> None:
    # Heavy imports belong to the job: --help answers without them.
    from depthdif.weights_and_biases.workspace import save_workspace

    save_workspace(cfg)


if __name__ == "__main__":
    with readable_errors("wandb_workspace"):
        main()
