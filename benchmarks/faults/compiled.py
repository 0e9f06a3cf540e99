"""Compiled programs that stay, so that each is compiled once for all processes."""

import jax

from benchmarks.faults.base_model import FOLDER

COMPILED = FOLDER / "compiled"


def keep_compiled() -> None:
    """Has JAX keep whatever this process compiles."""
    jax.config.update("jax_compilation_cache_dir", str(COMPILED))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
