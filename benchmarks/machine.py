"""What a benchmark ran on."""

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

DECIDING = (
    "aft",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "numpy",
    "pyarrow",
    "tokenizers",
    "safetensors",
)
"""Distributions whose version may change a figure."""


def machine() -> dict[str, Any]:
    """Processor, cores, memory in GiB, load average now, and versions; read before the work begins."""
    return {
        "cpu": _field(Path("/proc/cpuinfo"), "model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average": list(os.getloadavg()),
        "python_loop_ms": round(1000 * min(_loop_s() for _ in range(3)), 1),
        "system": platform.platform(),
        "versions": {"python": platform.python_version()} | _versions(),
    }


def _loop_s() -> float:
    """Seconds for a million additions in plain Python: what processor times of Python on other hosts compare by."""
    began_s, total = time.perf_counter(), 0
    for number in range(1_000_000):
        total += number
    return time.perf_counter() - began_s


def _versions() -> dict[str, str]:
    found = {}
    for name in DECIDING:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def _field(path: Path, name: str) -> str | None:
    """The first `name: value` line of a file of /proc; None where there is none (ARM names no model)."""
    if not path.is_file():
        return None
    lines = (line.partition(":") for line in path.read_text().splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == name), None)
