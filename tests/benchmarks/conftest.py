"""Programs compiled by one smoke run are found again by the next."""

from collections.abc import Iterator

import jax
import pytest

from benchmarks.models import CACHE


@pytest.fixture(scope="session", autouse=True)
def _compiled_once() -> Iterator[None]:
    settings = {
        "jax_compilation_cache_dir": str(CACHE.parent / "jax"),
        "jax_persistent_cache_min_compile_time_secs": 0.2,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)
