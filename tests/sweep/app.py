"""A script that sweeps as scripts/train.py does, with jobs of no work: the score of a job is its seed, a negative one fails."""

import os
import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from depthdif import UserError
from depthdif.command_line import readable_errors
from depthdif.sweep.table import sweeps

CONF = Path(__file__).resolve().parents[2] / "conf"


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
def main(cfg: DictConfig) -> float:
    if cfg.seed < 0:
        raise UserError(f"seed is {cfg.seed}: expected 0 or more; set seed=0")
    if cfg.seed == 99:
        os.kill(os.getpid(), 9)
    if cfg.seed == 98:
        raise KeyboardInterrupt
    Path(cfg.output_dir, "threads").write_text(os.environ.get("OMP_NUM_THREADS", ""))
    return float("nan") if cfg.seed == 97 else float(cfg.seed)


if __name__ == "__main__":
    if "--without-plugins" in sys.argv:
        sys.argv.remove("--without-plugins")
        # What Python finds where none is installed.
        sys.modules["hydra_plugins"] = None  # type: ignore[assignment]
    with readable_errors("train"), sweeps():
        main()
