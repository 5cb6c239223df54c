"""The README's first lines run as they stand."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from conftest import REPOSITORY, TIMEOUT
from PIL import Image

README = REPOSITORY / "python" / "README.md"
CAT = Path("examples/photos/cat.jpg")


def test_the_first_lines_run(tmp_path: Path) -> None:
    [code, *_] = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / CAT).parent.mkdir(parents=True)
    shutil.copy(REPOSITORY / CAT, tmp_path / CAT)
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT)
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert lines[:2] == ["<candle_deeplab.Model bundled: 21 classes, f32 on cpu>", "(451, 300) (300, 451)"]
    assert lines[2].startswith("cat") and lines[3].startswith("background")
    assert Image.open(tmp_path / "cat.jpg").size == Image.open(tmp_path / "cat.png").size == (451, 300)
