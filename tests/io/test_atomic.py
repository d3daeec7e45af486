"""Files that take their names when they are whole, and what killed processes leave of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from unproject.io.atomic import atomic_write, remove_file

WRITE_AND_DIE = """
import os, sys
from pathlib import Path
from unproject.io.atomic import atomic_write
with atomic_write(Path(sys.argv[1])) as file:
    file.write(b"half")
    os._exit(9)
"""


def test_what_a_killed_process_left_goes_with_the_file(tmp_path: Path) -> None:
    state, other = tmp_path / "state [1].safetensors", tmp_path / ".state [2].safetensors.1-a.part"
    other.write_bytes(b"of another file")
    assert subprocess.run([sys.executable, "-c", WRITE_AND_DIE, str(state)], check=False).returncode == 9
    assert [path.suffix for path in tmp_path.iterdir() if path != other] == [".part"]
    with atomic_write(state) as file:
        file.write(b"whole")
    remove_file(state)
    assert list(tmp_path.iterdir()) == [other]
    remove_file(state)  # nothing to remove is no error
