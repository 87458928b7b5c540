"""Parts that many tests need: batches of the data contract, and the config as a user would compose it."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from torch import Tensor

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# Tensors are tiny here: with more threads they wait for each other, most of all on a busy machine. `make test-kernels` sets
# the variable, because a result may depend on the number of threads.
THREADS = os.environ.get("DEPTHDIF_TEST_THREADS", "1")
torch.set_num_threads(int(THREADS))
os.environ["OMP_NUM_THREADS"] = THREADS

# PyTorch's fused attention in bfloat16 looks at the hardware and not at ATEN_CPU_CAPABILITY: it fails where that excludes AVX512
# on a CPU with AMX. Tests that train in bfloat16 take the plain kernel there.
if torch.backends.cpu.get_cpu_capability() != "AVX512":
    torch.backends.cuda.enable_flash_sdp(False)

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"

# How long an example takes depends on the machine and on what else runs there.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

# A run of seconds: synthetic ocean, the tiny U-Net, a short chain.
SMALL_RUN = (
    "data=synthetic",
    "data.patch_size=16",
    "data.batch_size=4",
    "data.validation_patches=4",
    "model/denoiser=unet_tiny",
    "model/first_guess=none",
    "model.sampler.steps=2",
    "model.sampler.ensemble_size=1",
    "model.sampler.antithetic=false",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
    "callbacks.progress=null",
    "callbacks.reconstruction.panel_samples=1",
    "callbacks.reconstruction.panel_depths=[0]",
)


@pytest.fixture(autouse=True)
def no_wandb_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests never reach a W&B account of the machine they run on."""
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no_netrc"))


@pytest.fixture(autouse=True)
def no_job_of_hydra() -> Iterator[None]:
    """Hydra keeps the config that it was started with for the process: no test sees that of another."""
    yield
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None


@pytest.fixture
def compose_train() -> Callable[..., DictConfig]:
    """Composes `conf/train.yaml` with overrides."""

    def composed(*overrides: str) -> DictConfig:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose(config_name="train", overrides=list(overrides))

    return composed


@pytest.fixture
def small_run(compose_train: Callable[..., DictConfig], tmp_path: Path) -> Callable[..., DictConfig]:
    """A config that trains within seconds into a folder of its own; `name` tells several apart."""

    def composed(*overrides: str, name: str = "run") -> DictConfig:
        return compose_train(*SMALL_RUN, f"output_dir={tmp_path / name}", *overrides)

    return composed


@pytest.fixture
def run_script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a script of `scripts/` by its name with arguments, from a folder, in this process.

    A process of its own would import for ten seconds; what only such a process shows starts one with `subprocess`.
    """

    def run(name: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
        from depthdif.sweep.callback import SweepCallback

        root = logging.getLogger()
        handlers, level = list(root.handlers), root.level
        printed, errors, code = io.StringIO(), io.StringIO(), 0
        with monkeypatch.context() as process:
            process.chdir(folder)
            process.setattr(sys, "argv", [str(ROOT / "scripts" / f"{name}.py"), *arguments])
            process.setattr(SweepCallback, "started_sweeps", [])
            # Also set back at the end where the script sets it.
            process.setenv("HYDRA_FULL_ERROR", "0")
            try:
                with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
                    runpy.run_path(sys.argv[0], run_name="__main__")
            except SystemExit as left:
                if isinstance(left.code, str):
                    errors.write(f"{left.code}\n")
                code = left.code if isinstance(left.code, int) else int(left.code is not None)
            finally:
                # Hydra takes over the log.
                root.handlers[:] = handlers
                root.setLevel(level)
        return subprocess.CompletedProcess([name, *arguments], code, printed.getvalue(), errors.getvalue())

    return run


@pytest.fixture
def wandb_records() -> Callable[[Path], list[dict[str, Any]]]:
    """Reads the offline W&B run of a run folder with W&B's own command."""

    def read(folder: Path) -> list[dict[str, Any]]:
        (run,) = folder.glob("wandb/offline-run-*")
        command = [str(Path(sys.executable).parent / "wandb"), "leet", "inspect", "--json", str(run)]
        printed = subprocess.run(command, capture_output=True, text=True, check=True)
        return [json.loads(line) for line in printed.stdout.splitlines() if line.startswith("{")]

    return read


@pytest.fixture
def make_batch() -> Callable[..., dict[str, Tensor]]:
    """Makes a random batch that keeps the data contract."""

    def made(
        size: int = 2, depths: int = 3, height: int = 8, width: int = 8, surfaces: int = 1, seed: int = 0
    ) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        shape = (size, depths, height, width)
        ocean = torch.rand(shape, generator=generator) > 0.2
        observed = ocean & (torch.rand(shape, generator=generator) > 0.7)
        target = torch.where(ocean, torch.randn(shape, generator=generator), 0)
        surface_mask = torch.rand((size, surfaces, height, width), generator=generator) > 0.1
        surface = torch.where(surface_mask, torch.randn(surface_mask.shape, generator=generator), 0)
        return {
            "target": target,
            "target_mask": ocean,
            "ocean_mask": ocean,
            "observations": torch.where(observed, target, 0),
            "observed_mask": observed,
            "surface": surface,
            "surface_mask": surface_mask,
            "coordinates": torch.tensor([[10.0, 70.0]]).repeat(size, 1),
            "day_of_year": torch.full((size,), 46.0),
            "index": torch.arange(size),
            "latitude": torch.linspace(0, 20, height).repeat(size, 1),
            "longitude": torch.linspace(60, 80, width).repeat(size, 1),
            "time": torch.full((size,), 10957),
        }

    return made


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Milliseconds: long, because the machine may be busy.
PATIENCE = 300_000
QUIET = (
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


def find_browser() -> str:
    """The browser of this machine; a test that needs one fails without it."""
    browser = os.environ.get("BROWSER_FOR_TESTS") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.fail(
            "no browser: apt-get install chromium, or BROWSER_FOR_TESTS=/path/to/chrome make browser-test"
        )
    return browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=find_browser(), args=list(QUIET), timeout=PATIENCE
        )
        yield launched
        launched.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[[Path], Page]]:
    """Opens a page that needs nothing but its file, whatever a test does with it: no error, warning or request is allowed."""
    opened: list[Page] = []
    messages: list[str] = []
    requests: list[str] = []
    allowed: list[str] = []

    def open_file(path: Path) -> Page:
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("dialog", lambda dialog: messages.append(dialog.message))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        opened.append(page)
        allowed.append(path.as_uri())
        return page

    yield open_file
    assert messages == []
    assert [url for url in requests if not url.startswith("data:")] == allowed
    for page in opened:
        page.close()


@pytest.fixture
def contrasts() -> Callable[[Page], list[float]]:
    """Measures the contrast of each text of a page with its background, as WCAG 2.1 defines it."""
    return lambda page: page.evaluate(CONTRASTS)


CONTRASTS = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const back = rgb(getComputedStyle(node).backgroundColor);
      if (back.length < 4 || back[3] > 0) return back;
    }
  };
  const kinds = "p, th, td, dt, dd, .chip, button, a, h1, h2, figcaption, label, output, svg.chart text";
  const nodes = document.querySelectorAll(kinds);
  return [...nodes].filter((n) => n.textContent.trim() && n.getClientRects().length).map((n) => {
    const style = getComputedStyle(n);
    const ink = luminance(rgb(n instanceof SVGElement ? style.fill : style.color));
    const back = luminance(behind(n));
    return (Math.max(ink, back) + 0.05) / (Math.min(ink, back) + 0.05);
  });
}"""
