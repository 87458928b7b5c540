"""The programs of the package: each function is a console entry point and a script over the root config of its name.

Errors that a user can correct are printed in one line. Jobs import what they need when they start, so that `--help` is fast.
"""

from __future__ import annotations

import atexit
import functools
import gc
import itertools
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# Before NumPy is imported: the systems of a first guess are small, and further threads of BLAS only wait beside those of torch.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from omegaconf import DictConfig, OmegaConf

from depthdif import UserError
from depthdif.config_folder import CONF
from depthdif.data.workers import worker_context
from depthdif.garbage import collection_paused
from depthdif.sweep.job import earlier_score
from depthdif.sweep.table import sweeps
from depthdif.terminal import command, lines_about, silence_libraries

FULL_ERROR = "HYDRA_FULL_ERROR"
# Set where HYDRA_FULL_ERROR is set by the program: processes that it starts inherit both.
SHORT_ERROR = "DEPTHDIF_SHORT_ERROR"

# An argument about the data or the model of a run: data.path=..., model/sampler=ddim, +model.x=1, ~data.training.
RUN_ARGUMENT = re.compile(r"[+~]*(data|model)([./][^=@]*)?(=|$)")


def program(job: Callable[[DictConfig], Any]) -> Callable[[], None]:
    """Turn the job of a config into a program over the root config `conf/JOB.yaml` and the command line.

    Where that config has `run_overrides`, arguments about data and model change the config of the run that is opened.
    """
    name = job.__name__

    # Hydra derives the location of the configs from the module of `main`, and `lines_about` knows it by its name.
    @hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)
    def main(cfg: DictConfig) -> Any:
        silence_libraries()
        return job(cfg)

    @functools.wraps(job)
    def start() -> None:
        # When it ends, the interpreter looks for cycles among the million objects of the libraries, for more than a second.
        atexit.register(gc.freeze)
        with readable_errors(name), sweeps():
            if "\nrun_overrides:" in (CONF / f"{name}.yaml").read_text(encoding="utf-8"):
                sys.argv[1:] = with_run_overrides(sys.argv[1:])
            OmegaConf.register_new_resolver("command", command, replace=True)
            parts = help_parts(name)
            OmegaConf.register_new_resolver("help", lambda part: parts[part], replace=True)
            main()

    return start


@contextmanager
def readable_errors(config_name: str) -> Iterator[None]:
    """Print an error that a user can correct in one line and exit with 1; HYDRA_FULL_ERROR=1 shows the traceback instead.

    All other errors are bugs and keep their traceback. A mistyped key is compared with the keys of the root config.
    """
    in_full = os.environ.get(FULL_ERROR, "0") != "0" and SHORT_ERROR not in os.environ
    # Without it Hydra prints a message of its own and exits before the error gets here.
    os.environ[FULL_ERROR] = "1"
    if not in_full:
        os.environ[SHORT_ERROR] = "1"
    try:
        yield
    except Exception as error:
        lines = lines_about(error, config_name)
        if in_full or not lines:
            raise
        print("\n".join([*lines, f"({FULL_ERROR}=1 shows the traceback)"]), file=sys.stderr)
        sys.exit(1)
    finally:
        if not in_full:
            del os.environ[FULL_ERROR], os.environ[SHORT_ERROR]


def with_run_overrides(arguments: Sequence[str]) -> list[str]:
    """Move the arguments about data and model into `run_overrides=[...]`.

    Their keys are those of the checkpoint, so that Hydra must not compare them with the config of the program. In a sweep
    (`-m`) each combination of their values becomes one list.

    Raises:
        UserError: a sweep over something else than listed values or a range.
        HydraException: in a sweep, an argument that is not an override.
    """
    moved = [argument for argument in arguments if RUN_ARGUMENT.match(argument)]
    others = [argument for argument in arguments if argument not in moved]
    if not moved:
        return others
    choices = [[argument] for argument in moved]
    if not {"-m", "--multirun"}.isdisjoint(arguments):
        choices = [sweep_choices(override) for override in OverridesParser.create().parse_overrides(moved)]
    lists = []
    for choice in itertools.product(*choices):
        quoted = [QuotedString(argument, Quote.single).with_quotes() for argument in choice]
        lists.append(f"[{','.join(quoted)}]".replace("${", r"\${"))
    return [*others, f"run_overrides={','.join(lists)}"]


def sweep_choices(override: Override) -> list[str]:
    """One override for each value of a sweep override; the override without change where it is no sweep."""
    assert override.input_line is not None
    if not override.is_sweep_override():
        return [override.input_line]
    if not (override.is_choice_sweep() or override.is_range_sweep()):
        raise UserError(
            f"{override.input_line}: expected values or a range for data and model of a run, "
            f"such as {override.get_key_element()}=1,2"
        )
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]


def help_parts(config_name: str) -> dict[str, str]:
    """The parts of `conf/hydra/help/script.yaml`: the comment of a root config, the usage, and its keys with their comments."""
    lines = (CONF / f"{config_name}.yaml").read_text(encoding="utf-8").splitlines()
    description = itertools.takewhile(lambda line: line.startswith("#"), lines)
    keys = [line for line in lines if re.match(r"\w+: *\S", line) and not line.startswith("run_overrides")]
    # The help template would resolve an interpolation. A key with keys of its own has no value.
    parts = [re.sub(r"\$\{.*\}", "FOLDER", line).replace(":  # ", ".KEY=...  # ", 1) for line in keys]
    split = (part.replace(": ", "=", 1).partition("  # ") for part in parts)
    values = {value.strip(): comment for value, _, comment in split}
    required = [value.replace("???", "PATH") for value in values if value.endswith("=???")]
    width = 2 + max(map(len, values))
    return {
        "description": "\n".join(line.removeprefix("# ") for line in description),
        "usage": " ".join([command(config_name), *required, "[KEY=VALUE] ..."]),
        "values": "\n".join(f"{value:{width}}{comment}".rstrip() for value, comment in values.items()),
    }


@program
def train(cfg: DictConfig) -> float:
    """`depthdif-train`: train a model; a job of a sweep that is finished returns its score again."""
    if (score := earlier_score()) is not None:
        return score
    if cfg.data.num_workers:
        worker_context()
    with collection_paused():
        from depthdif.checkpoints.resume import with_overrides_of_resumed_run
        from depthdif.training import train

    return train(*with_overrides_of_resumed_run(cfg))


@program
def evaluate(cfg: DictConfig) -> Any:
    """`depthdif-evaluate`: score a trained model beside its baselines."""
    with collection_paused():
        from depthdif.build import resolved
        from depthdif.checkpoints.trained_run import device_of, open_trained
        from depthdif.evaluation.evaluate import evaluate
        from depthdif.evaluation.plan import EvaluationPlan

    plan = EvaluationPlan.from_config(cfg)
    device = device_of(cfg.accelerator)
    return evaluate(plan, open_trained(cfg), device, resolved(cfg))


@program
def predict(cfg: DictConfig) -> None:
    """`depthdif-predict`: predict an ocean from profiles with a trained model."""
    with collection_paused():
        from depthdif.prediction.predict import predict

    predict(cfg)


@program
def export(cfg: DictConfig) -> None:
    """`depthdif-export`: write a checkpoint as a folder that diffusers loads."""
    with collection_paused():
        from depthdif.export.export import export

    export(cfg)


@program
def posthoc_ema(cfg: DictConfig) -> float:
    """`depthdif-posthoc-ema`: rebuild and score weight averages of a finished run."""
    with collection_paused():
        from depthdif.posthoc_ema.posthoc import posthoc

    return posthoc(cfg)


@program
def compare(cfg: DictConfig) -> None:
    """`depthdif-compare`: write page, picture and summary of finished runs."""
    from depthdif.comparison.compare import compare

    compare(cfg.runs, cfg.output_dir, cfg.megabytes, cfg.variable)


@program
def fit_first_guess(cfg: DictConfig) -> float:
    """`depthdif-fit-first-guess`: fit the settings of a first guess to the training region, by cross-validation."""
    with collection_paused():
        from depthdif.first_guess.fit import fit_first_guess

    return fit_first_guess(cfg, list(HydraConfig.get().overrides.task))


@program
def wandb_workspace(cfg: DictConfig) -> None:
    """`depthdif-wandb-workspace`: build a W&B workspace with the variants side by side."""
    from depthdif.weights_and_biases.workspace import save_workspace

    save_workspace(cfg)
