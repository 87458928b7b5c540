from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import hydra
@hydra.main(version_base="1.3", config_path={conf!r}, config_name="compare")
def main(cfg):
    import logging
    import matplotlib.font_manager
    logging.getLogger("depthdif").info("first line of the run")
main()
"""


def test_the_fonts_that_matplotlib_finds_are_not_the_first_line_of_a_first_run(tmp_path: Path) -> None:
    conf = str(Path(__file__).resolve().parents[2] / "conf")
    script = tmp_path / "job.py"
    script.write_text(SCRIPT.format(conf=conf))
    finished = subprocess.run(
        [sys.executable, str(script), f"hydra.run.dir={tmp_path / 'run'}"],
        env=os.environ | {"MPLCONFIGDIR": str(tmp_path / "empty")},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert list((tmp_path / "empty").glob("fontlist*.json"))
    assert finished.stdout.splitlines()[0] == "first line of the run"
    assert "font" not in finished.stdout + finished.stderr
