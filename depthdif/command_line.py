"""The programs of the package: each is a job over a root config of `conf/`, as a console entry point and as a script.

Errors that a user can correct are printed in one line. Nothing heavy is imported before the job starts, so that `--help`
answers at once.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from depthdif import UserError
from depthdif.config_folder import CONF
from depthdif.sweep.job import earlier_score, own_checkpoint
from depthdif.sweep.table import sweeps
from depthdif.terminal import command, lines_about

FULL_ERROR = "HYDRA_FULL_ERROR"

# An argument about the data or the model of a run: data.path=..., model/sampler=ddim, +model.x=1, ~data.training.
RUN_ARGUMENT = re.compile(r"[+~]*(data|model)([./][^=@]*)?(=|$)")
FLAG_OF_SWEEPS = ("-m", "--multirun")


def run_job(config_name: str, job: Callable[[DictConfig], Any], folder: Path = CONF) -> None:
    """Run a job over the root config `folder/config_name.yaml` and the arguments of the command line."""

    @hydra.main(version_base="1.3", config_path=str(folder), config_name=config_name)
    def main(cfg: DictConfig) -> Any:
        return job(cfg)

    register_help()
    main()


def run_job_on_checkpoint(config_name: str, job: Callable[[DictConfig], Any], folder: Path = CONF) -> None:
    """Run a job that opens a checkpoint: arguments about data and model belong to the config of its run."""
    with readable_errors(config_name):
        sys.argv[1:] = with_run_overrides(sys.argv[1:])
        run_job(config_name, job, folder)


@contextmanager
def readable_errors(config_name: str) -> Iterator[None]:
    """Print an error that a user can correct in one line and exit with 1; HYDRA_FULL_ERROR=1 shows the traceback instead.

    `config_name` is the root config of the program, in `conf/`: its keys are what a mistyped one is compared with. All other
    errors are bugs and keep their traceback.
    """
    in_full = os.environ.get(FULL_ERROR, "0") != "0"
    # Else Hydra prints its own account and exits before the error gets here.
    os.environ[FULL_ERROR] = "1"
    try:
        yield
    except Exception as error:
        lines = lines_about(error, config_name)
        if in_full or not lines:
            raise
        print("\n".join([*lines, f"({FULL_ERROR}=1 shows where)"]), file=sys.stderr)
        sys.exit(1)
    finally:
        if not in_full:
            del os.environ[FULL_ERROR]


def with_run_overrides(arguments: Sequence[str]) -> list[str]:
    """`arguments` with those about data and model gathered in `run_overrides=[...]`.

    Only the checkpoint knows which keys they may name, so that Hydra must not check them against the config of the program.
    In a sweep (`-m`) each combination of their values becomes one list.

    Raises:
        UserError: a sweep over something else than listed values or a range.
        HydraException: in a sweep, an argument that is no override.
    """
    arguments = list(arguments)
    gathered = [argument for argument in arguments if RUN_ARGUMENT.match(argument)]
    if not gathered:
        return arguments
    others = [argument for argument in arguments if argument not in gathered]
    choices = [[argument] for argument in gathered]
    if not {*FLAG_OF_SWEEPS}.isdisjoint(arguments):
        choices = [values_of(override) for override in OverridesParser.create().parse_overrides(gathered)]
    lists = [f"[{','.join(map(quoted, choice))}]" for choice in itertools.product(*choices)]
    return [*others, f"run_overrides={','.join(lists)}"]


def values_of(override: Override) -> list[str]:
    """One override for each value that a sweep override stands for."""
    assert override.input_line is not None
    if not override.is_sweep_override():
        return [override.input_line]
    if not (override.is_choice_sweep() or override.is_range_sweep()):
        raise UserError(
            f"{override.input_line}: expected values or a range for data and model of a run, "
            f"such as {override.get_key_element()}=1,2"
        )
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]


def quoted(argument: str) -> str:
    """An argument as a string of Hydra's grammar, without interpolation."""
    escaped = re.sub(r"(\\+)(?='|$)", r"\1\1", argument).replace("'", r"\'").replace("${", r"\${")
    return f"'{escaped}'"


def register_help() -> None:
    """Let the help templates in `conf/hydra/help` name the running command and list the values of a root config."""
    OmegaConf.register_new_resolver("command", command, replace=True)
    for name, part in {"description": description, "values": values, "required": required}.items():
        OmegaConf.register_new_resolver(name, part, replace=True)


def description(config_name: str) -> str:
    """The comment that a root config starts with."""
    lines = (CONF / f"{config_name}.yaml").read_text(encoding="utf-8").splitlines()
    return "\n".join(
        line.removeprefix("# ") for line in itertools.takewhile(lambda line: line[:1] == "#", lines)
    )


def values(config_name: str) -> str:
    """The keys of a root config with their comments, a line each."""
    rows = value_rows(config_name)
    width = 2 + max(len(value) for value, _ in rows)
    return "\n".join(f"{value:{width}}{comment}".rstrip() for value, comment in rows)


def required(config_name: str) -> str:
    """The keys of a root config that have no default, for the line of usage."""
    missing = [value for value, _ in value_rows(config_name) if value.endswith("=???")]
    return "".join(f" {value.replace('=???', '=PATH')}" for value in missing)


def value_rows(config_name: str) -> list[tuple[str, str]]:
    """KEY=DEFAULT and comment of each key of a root config that a user sets, in the order of the file."""
    lines = (CONF / f"{config_name}.yaml").read_text(encoding="utf-8").splitlines()
    keys = [line for line in lines if re.match(r"\w+: *\S", line) and not line.startswith("run_overrides")]
    # An interpolation would be taken for a placeholder of the help template.
    parts = [re.sub(r"\$\{.*\}", "FOLDER", line).replace(": ", "=", 1).partition("  # ") for line in keys]
    return [(value.strip(), comment) for value, _, comment in parts]


def train() -> None:
    """`depthdif-train`: train a model."""
    with readable_errors("train"), sweeps():
        run_job("train", train_job)


def train_job(cfg: DictConfig) -> float:
    """Train, or return the score of this job of a sweep where it is finished."""
    if (score := earlier_score()) is not None:
        return score
    # Heavy imports belong to the job: --help answers without them.
    from depthdif.checkpoints.resume import with_overrides_of_resumed_run
    from depthdif.training import train

    cfg, checkpoint = with_overrides_of_resumed_run(cfg)
    if (own := own_checkpoint()) is not None:
        cfg.resume, checkpoint = own, None
    return train(cfg, checkpoint)


def evaluate() -> None:
    """`depthdif-evaluate`: score a trained model beside its baselines."""
    run_job_on_checkpoint("evaluate", evaluate_job)


def evaluate_job(cfg: DictConfig) -> Any:
    """Open the checkpoint and evaluate it."""
    from depthdif.build import resolved
    from depthdif.checkpoints.trained_run import device_of, open_trained
    from depthdif.evaluation.evaluate import evaluate
    from depthdif.evaluation.plan import EvaluationPlan
    from depthdif.training import silence_libraries

    silence_libraries()
    plan = EvaluationPlan.from_config(cfg)
    device = device_of(cfg.accelerator)
    return evaluate(plan, open_trained(cfg), device, resolved(cfg))


def export() -> None:
    """`depthdif-export`: write a checkpoint as a folder that diffusers loads."""
    run_job_on_checkpoint("export", export_job)


def export_job(cfg: DictConfig) -> None:
    """Export the weights of a checkpoint."""
    from depthdif.export.export import export
    from depthdif.training import silence_libraries

    silence_libraries()
    export(cfg)


def posthoc_ema() -> None:
    """`depthdif-posthoc-ema`: rebuild and score weight averages of a finished run."""
    run_job_on_checkpoint("posthoc_ema", posthoc_ema_job)


def posthoc_ema_job(cfg: DictConfig) -> float:
    """Rebuild averages from the snapshots of a run."""
    from depthdif.posthoc_ema.posthoc import posthoc
    from depthdif.training import silence_libraries

    silence_libraries()
    return posthoc(cfg)


def compare() -> None:
    """`depthdif-compare`: compare finished runs."""
    with readable_errors("compare"):
        run_job("compare", compare_job)


def compare_job(cfg: DictConfig) -> None:
    """Write page, picture and summary of the runs."""
    from depthdif.comparison.compare import compare

    compare(cfg.runs, cfg.output_dir, cfg.megabytes)


def fit_first_guess() -> None:
    """`depthdif-fit-first-guess`: fit the settings of a first guess to the training region."""
    with readable_errors("fit_first_guess"):
        run_job("fit_first_guess", fit_first_guess_job)


def fit_first_guess_job(cfg: DictConfig) -> float:
    """Fit a first guess by cross-validation."""
    from depthdif.first_guess.fit import fit_first_guess

    return fit_first_guess(cfg, list(HydraConfig.get().overrides.task))


def wandb_workspace() -> None:
    """`depthdif-wandb-workspace`: build a W&B workspace with the variants side by side."""
    with readable_errors("wandb_workspace"):
        run_job("wandb_workspace", wandb_workspace_job)


def wandb_workspace_job(cfg: DictConfig) -> None:
    """Save the workspace, or write it as JSON."""
    from depthdif.weights_and_biases.workspace import save_workspace

    save_workspace(cfg)
