"""Export a trained model for diffusers: `python scripts/export.py checkpoint=runs/DATE_TIME/checkpoints/last.ckpt which=ema`."""

import hydra
from omegaconf import DictConfig

from depthdif.command_line import readable_errors


@hydra.main(version_base="1.3", config_path="../conf", config_name="export")
def main(cfg: DictConfig) -> None:
    # Heavy imports belong to the job: --help answers without them.
    from depthdif.export.export import export
    from depthdif.training import silence_libraries

    silence_libraries()
    export(cfg)


if __name__ == "__main__":
    with readable_errors("export"):
        main()
