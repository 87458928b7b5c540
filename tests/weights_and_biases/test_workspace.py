"""The workspace of a project is built without a network, and saved where there is a login."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from depthdif.callbacks.panels import IMAGE_KEY
from depthdif.config_folder import CONF
from depthdif.training import train
from depthdif.weights_and_biases.workspace import save_workspace

pytest.importorskip("wandb_workspaces", reason="the extra `workspace` is not installed")

SCRIPT = CONF.parent / "scripts" / "wandb_workspace.py"
Records = Callable[[Path], list[dict[str, Any]]]


def compose_workspace(folder: Path, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("wandb_workspace", overrides=[f"output_dir='{folder}'", *overrides])


def view(folder: Path, *overrides: str) -> dict[str, Any]:
    """The view that is written without a login."""
    return json.loads(save_workspace(compose_workspace(folder, *overrides)).read_text())


def panels(view: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The settings of the panels of each section."""
    sections = view["spec"]["section"]["panelBankConfig"]["sections"]
    return {section["name"]: [panel["config"] for panel in section["panels"]] for section in sections}


def test_each_variant_has_its_panel_beside_the_others(tmp_path: Path) -> None:
    sections = panels(view(tmp_path, "weights=[standard,ema,ema_0.99]"))
    assert list(sections) == ["Reconstructions", "Skill", "EMA distances", "Training"]
    keys = [panel["mediaKeys"] for panel in sections["Reconstructions"]]
    assert keys == [[f"{IMAGE_KEY}_{name}"] for name in ("standard", "ema", "ema_0.99")]


def test_each_score_has_one_chart_with_a_line_for_each_variant(tmp_path: Path) -> None:
    charts = {chart["chartTitle"]: chart for chart in panels(view(tmp_path))["Skill"]}
    assert list(charts) == ["MSE", "CRPS", "PSNR dB", "SSIM", "validation loss"]
    assert charts["CRPS"]["metrics"] == [
        "val_standard/recon_crps_full_recon",
        "val_ema/recon_crps_full_recon",
    ]
    assert charts["MSE"]["metrics"] == ["val_standard/recon_mse_full_recon", "val_ema/recon_mse_full_recon"]
    assert {chart["xAxis"] for chart in charts.values()} == {"trainer/global_step"}


def test_runs_are_grouped_by_decay_and_the_best_comes_first(tmp_path: Path) -> None:
    (runs,) = view(tmp_path)["spec"]["section"]["runSets"]
    assert runs["grouping"][-1] == {"section": "config", "name": "model.value.ema.decay"}
    assert runs["sort"]["keys"][0]["key"]["name"] == "val_ema/recon_mse_full_recon.min"


def test_every_chart_shows_what_a_run_logs(
    tmp_path: Path, small_run: Callable[..., DictConfig], wandb_records: Records
) -> None:
    # The CRPS is that of two members or more.
    train(small_run("model/ema=quick", "trainer.max_steps=2", "trainer.log_every_n_steps=1",
                    "model.sampler.ensemble_size=2"))  # fmt: skip
    records = wandb_records(tmp_path / "run")
    rows = [record["history"]["item"] for record in records if record["type"] == "history"]
    logged = {key for row in rows for key in row}
    shown = [panel for section in panels(view(tmp_path)).values() for panel in section]
    for key in (key for panel in shown for key in panel.get("metrics", [])):
        assert key in logged
    for key in (key for panel in shown for key in panel.get("mediaKeys", [])):
        assert any(name.startswith(f"{key}.") for name in logged)
    assert any(key.startswith("lr-") for key in logged)
    # Runs are grouped by a key of their config.
    updates = [record["config"].get("update", {}) for record in records if record["type"] == "config"]
    (model,) = [update["model"] for update in updates if "model" in update]
    assert model["ema"]["enabled"] is True
    assert model["ema"]["decay"] == 0.99


def test_without_a_login_one_line_shows_the_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = save_workspace(compose_workspace(tmp_path))
    assert caplog.messages == [f"W&B: not logged in, so the workspace is in {path} alone; run: wandb login"]


def test_no_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"weights=\[\]: expected"):
        save_workspace(compose_workspace(tmp_path, "weights=[]"))


class Answers(BaseHTTPRequestHandler):
    """Answers of a W&B server to a client that requests its user and saves a view."""

    received: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        # Telemetry is sent to other paths.
        request = json.loads(body) if self.path == "/graphql" else {}
        self.received.append(request)
        viewer = {
            "id": "1",
            "entity": "me",
            "username": "me",
            "email": "",
            "flags": "{}",
            "teams": {"edges": []},
        }
        saved = {"view": {"id": "V", "name": "nw-abc-v"}, "inserted": True}
        answer = json.dumps({"data": {"viewer": viewer, "upsertView": saved}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *values: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server on this machine, and the requests that it received."""
    received: list[dict[str, Any]] = []
    handler = type("Recorded", (Answers,), {"received": received})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}", received
        served.shutdown()
        thread.join()


def test_with_a_login_it_is_saved_and_its_link_printed(
    tmp_path: Path, server: tuple[str, list[dict[str, Any]]]
) -> None:
    url, received = server
    command = [sys.executable, str(SCRIPT), f"hydra.run.dir={tmp_path}", "project=ocean"]
    environment = {**os.environ, "WANDB_BASE_URL": url, "WANDB_API_KEY": "k" * 40}
    printed = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=True
    )
    assert printed.stdout.splitlines() == [f"W&B: workspace saved, {url}/me/ocean?nw=abc"]
    (saved,) = [request["variables"] for request in received if "upsertView" in request.get("query", "")]
    assert (saved["entityName"], saved["projectName"], saved["displayName"]) == (
        "me",
        "ocean",
        "standard and EMA",
    )
    written = json.loads((tmp_path / "workspace.json").read_text())
    # Identifiers of panels are drawn anew; all else is what the file shows.
    assert panels({"spec": json.loads(saved["spec"])}) == panels(written)
