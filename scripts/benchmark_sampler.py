"""RMSE and CRPS of a trained model against evaluations of the network, for the samplers of diffusers.

    python scripts/benchmark_sampler.py checkpoint=runs/DATE_TIME/checkpoints/last.ckpt

See docs/metrics.md.
"""

from omegaconf import DictConfig

from depthdif.command_line import run_job_on_checkpoint


def benchmark_job(cfg: DictConfig) -> object:
    # Heavy imports belong to the job: --help answers without them.
    from depthdif.checkpoints.trained_run import device_of, open_trained
    from depthdif.evaluation.sampler_job import benchmark_sampler
    from depthdif.training import silence_libraries

    silence_libraries()
    device = device_of(cfg.accelerator)
    return benchmark_sampler(cfg, open_trained(cfg), device)


if __name__ == "__main__":
    run_job_on_checkpoint("benchmark_sampler", benchmark_job)
