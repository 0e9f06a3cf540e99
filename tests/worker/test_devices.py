"""The compilation cache keeps what a start compiles, however small."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from pathlib import Path
import jax
from aft_worker.devices import enable_compilation_cache
enable_compilation_cache(Path(sys.argv[1]))
jax.jit(lambda x: x + 1)(1.0).block_until_ready()
"""


def test_programs_that_compile_in_no_time_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    # A process of its own: the setting is the whole process's.
    subprocess.run([sys.executable, "-c", PROGRAM, str(folder)], check=True, timeout=60)
    assert [path.name for path in folder.glob("jit__lambda*-cache")] != []
