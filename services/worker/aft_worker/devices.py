"""What the worker runs on, and how JAX is set up there."""

from importlib.metadata import version
from pathlib import Path

import jax

DECIDING = ("aft", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tokenizers", "numpy")
"""Distributions whose version may change a figure."""


def platform_and_count() -> tuple[str, int]:
    """`cpu`, `gpu` or `tpu`, and how many devices of it."""
    return jax.default_backend(), jax.device_count()


def versions() -> dict[str, str]:
    """Version of everything that decides numbers."""
    return {name: version(name) for name in DECIDING}


def enable_compilation_cache(folder: Path) -> None:
    """Keeps compiled programs in `folder`; for the whole process, so it is called once, by `serve`."""
    folder.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(folder.absolute()))
    # By default JAX keeps only what took a second to compile; the two dozen small programs of a start add up to one.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
