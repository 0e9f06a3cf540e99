"""Settings of the worker process, from AFT_WORKER_* environment variables."""

import socket
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class WorkerSettings(BaseSettings):
    """Everything a worker can be told; the defaults run one beside the control plane."""

    model_config = SettingsConfigDict(env_prefix="AFT_WORKER_", frozen=True, use_attribute_docstrings=True)

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8801, ge=0, le=65535)
    """Port to listen on."""
    root: Path = Path(".aft/worker")
    """Folder that holds a folder per run."""
    worker_id: str = Field(default_factory=socket.gethostname, min_length=1)
    """Its name, the same after a restart."""
    slots: int = Field(default=1, ge=1)
    """Runs it holds at once."""
    fsdp: int = Field(default=1, ge=1)
    """Devices that share each copy of the parameters and of the optimizer's moments; must divide the devices."""
    jax_cache_dir: Path | None = None
    """Folder of JAX's persistent compilation cache; None means `root`/.jax-cache."""
    drain_s: float = Field(default=20.0, gt=0)
    """How long a shutdown waits for the running step and for saves in flight, in seconds."""

    @property
    def compilation_cache(self) -> Path:
        """Folder of compiled programs, which a restarted worker need not compile again."""
        return self.jax_cache_dir or self.root / ".jax-cache"
