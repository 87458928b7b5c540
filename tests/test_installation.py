"""The wheel holds everything: it trains, exports and loads an export from any directory, without the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("depthdif", "conf", "pyproject.toml", "setup.py", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the content of the wheel alone, as `pip install` lays it into site-packages."""
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "repository").mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / "repository" / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    subprocess.run(
        [*command, "--wheel-dir", str(folder), str(folder / "repository")], check=True, timeout=300
    )
    shutil.rmtree(folder / "repository")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site-packages")
    return folder / "site-packages"


def run(installed: Path, folder: Path, code: str, *arguments: str) -> str:
    """What a Python program prints that finds the package in `installed`, started in another folder."""
    finished = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_the_wheel_holds_every_config_and_an_entry_point_for_each_script(installed: Path) -> None:
    shipped = {path.relative_to(ROOT / "conf") for path in (ROOT / "conf").rglob("*.yaml")}
    assert {
        path.relative_to(installed / "depthdif/conf") for path in installed.rglob("conf/**/*.yaml")
    } == shipped
    (entry_points,) = installed.glob("*.dist-info/entry_points.txt")
    scripts = {path.stem for path in (ROOT / "scripts").glob("*.py")}
    for script in sorted(scripts):
        assert f"depthdif.command_line:{script}" in entry_points.read_text()


def test_the_wheel_holds_the_samples_with_what_made_them(installed: Path) -> None:
    files = [path.relative_to(ROOT) for path in (ROOT / "depthdif/data/sample").glob("*/*") if path.is_file()]
    assert {path.suffix for path in files} == {".nc", ".py", ".md"}
    for path in files:
        assert (installed / path).read_bytes() == (ROOT / path).read_bytes()


def test_the_wheel_trains_exports_and_loads_the_export_from_another_directory(
    installed: Path, tmp_path: Path
) -> None:
    small = (
        "experiment=smoke",
        "logger=csv",
        "trainer.max_steps=20",
        "trainer.precision=32-true",
        "data.validation_patches=4",
        "callbacks.reconstruction.panel_samples=1",
        "callbacks.reconstruction.panel_depths=[0]",
        "trainer.val_check_interval=20",
        "hydra.run.dir=run",
    )
    programs = """
import sys
from depthdif.command_line import export, train
train()
sys.argv[1:] = ["checkpoint=run/checkpoints/last.ckpt", "output=exported"]
export()
"""
    printed = run(installed, tmp_path, programs, *small)
    assert "20 optimizer steps" in printed
    assert "exported the ema weights" in printed
    load = """
import depthdif
from depthdif.export.pipeline import OceanPipeline
print(depthdif.__file__, type(OceanPipeline.from_pretrained("exported")).__name__)
"""
    assert run(installed, tmp_path, load).split() == [
        str(installed / "depthdif/__init__.py"),
        "OceanPipeline",
    ]
