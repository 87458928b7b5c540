"""Train a model: `python scripts/train.py model.ema.enabled=true data.batch_size=32`; `--help` shows what can be set."""

import hydra
from omegaconf import DictConfig

from depthdif.command_line import readable_errors
from depthdif.sweep.resume import from_where_it_was_cut_off, score_before
from depthdif.sweep.table import sweeps


@hydra.main(version_base="1.3", config_path="../conf", config_name="train")
def main(cfg: DictConfig) -> float:
    if (score := score_before()) is not None:
        return score
    # Heavy imports belong to the job: --help answers without them.
    from depthdif.checkpoints.resume import with_overrides_of_resumed_run
    from depthdif.training import train

    return train(from_where_it_was_cut_off(with_overrides_of_resumed_run(cfg)))


if __name__ == "__main__":
    with readable_errors("train"), sweeps():
        main()
