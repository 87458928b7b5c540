"""Evaluate a trained model: `python scripts/evaluate.py checkpoint=runs/DATE_TIME/checkpoints/last.ckpt`; see docs/metrics.md."""

import hydra
from omegaconf import DictConfig

from depthdif.command_line import readable_errors


@hydra.main(version_base="1.3", config_path="../conf", config_name="evaluate")
def main(cfg: DictConfig) -> float:
    # Heavy imports belong to the job: --help answers without them.
    from depthdif.build import resolved
    from depthdif.checkpoints.trained_run import device_of, open_trained
    from depthdif.evaluation.evaluate import evaluate
    from depthdif.evaluation.plan import EvaluationPlan
    from depthdif.training import silence_libraries

    silence_libraries()
    plan = EvaluationPlan.from_config(cfg)
    device = device_of(cfg.accelerator)
    return evaluate(plan, open_trained(cfg), device, resolved(cfg))


if __name__ == "__main__":
    with readable_errors("evaluate"):
        main()
