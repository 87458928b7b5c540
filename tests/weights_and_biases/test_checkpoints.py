from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import DictConfig

from depthdif import UserError
from depthdif.training import train
from depthdif.weights_and_biases.checkpoints import CheckpointUpload

UPLOAD = "logger.wandb.upload_checkpoints"


def uploads(records: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Name and aliases of the files that `wandb sync` would upload."""
    artifacts = [record["artifact"] for record in records if record.get("type") == "artifact"]
    models = [artifact for artifact in artifacts if artifact["type"] == "model"]
    for model in models:
        (content,) = model["manifest"]["contents"]
        assert Path(content["local_path"]).is_file()
        assert int(content["size"]) == Path(content["local_path"]).stat().st_size
    return {model["manifest"]["contents"][0]["path"]: sorted(model["aliases"]) for model in models}


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[str | bool], CheckpointUpload]:
    """An upload of a run that keeps its best two checkpoints and the last one."""
    paths = {name: tmp_path / f"{name}.ckpt" for name in ("best", "second", "last")}
    for path in paths.values():
        path.touch()
    best: Any = SimpleNamespace(monitor="val/loss", best_model_path=str(paths["best"]),
                                best_k_models={str(paths["second"]): 2.0, str(paths["best"]): 1.0})  # fmt: skip
    last: Any = SimpleNamespace(monitor=None, best_model_path=str(paths["last"]), best_k_models={})

    def upload(which: str | bool) -> CheckpointUpload:
        upload = CheckpointUpload(which)
        for callback in (best, last, best):
            upload.saved(callback)
        return upload

    return upload


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ("best", {"best": ["best"]}),
        ("last", {"last": ["last"]}),
        ("all", {"best": ["best"], "second": [], "last": ["last"]}),
        (False, {}),
    ],
)
def test_the_chosen_checkpoints_are_uploaded_under_their_aliases(
    saved: Callable[[str | bool], CheckpointUpload], which: str | bool, expected: dict[str, list[str]]
) -> None:
    assert {path.stem: aliases for path, aliases in saved(which).files().items()} == expected


def test_an_offline_run_leaves_its_checkpoints_for_wandb_sync(
    small_run: Callable[..., DictConfig],
    tmp_path: Path,
    wandb_records: Callable[[Path], list[dict[str, Any]]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("INFO"):
        train(small_run("trainer.max_steps=3", f"{UPLOAD}=all"))
    assert uploads(wandb_records(tmp_path / "run")) == {
        "step-3.ckpt": ["best", "latest"],
        "last.ckpt": ["last", "latest"],
    }
    (line,) = [message for message in caplog.messages if "wandb sync uploads" in message]
    assert "last.ckpt" in line


def test_another_choice_is_an_error() -> None:
    with pytest.raises(UserError, match="upload_checkpoints=some; expected best, last, all or false"):
        CheckpointUpload("some")
