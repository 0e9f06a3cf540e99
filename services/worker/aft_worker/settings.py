"""Settings of the worker process, from AFT_WORKER_* environment variables."""

import socket
from pathlib import Path

from pydantic import Field, SecretStr
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
    """Its name, the same after a restart; by default this machine's."""
    api_urls: tuple[str, ...] = ()
    """Base URLs of the API's replicas that it registers with, as a JSON list; empty waits to be asked by one."""
    public_url: str | None = None
    """Where those reach it; unset means `http://host:port`, with this machine's name for a host of 0.0.0.0."""
    heartbeat_s: float = Field(default=5.0, gt=0)
    """How often it says that it is there, in seconds."""
    token: SecretStr | None = Field(default=None, min_length=16)
    """What it and the API prove themselves to each other with (AFT_WORKER_TOKEN in the settings of both)."""
    input_roots: tuple[Path, ...] = ()
    """Folders that models and data must lie in, links resolved, as a JSON list; empty takes them from anywhere."""
    most_body_bytes: int = Field(default=64 * 2**20, ge=1024)
    """Longest body of a request, in bytes."""
    slots: int = Field(default=1, ge=1)
    """Runs it holds at once."""
    fsdp: int = Field(default=1, ge=1)
    """Devices that share each copy of the parameters and of the optimizer's moments; must divide the devices."""
    jax_cache_dir: Path | None = None
    """Folder of JAX's persistent compilation cache; unset means `root`/.jax-cache."""
    drain_s: float = Field(default=20.0, gt=0)
    """How long a shutdown waits for the running step and for saves in flight, in seconds."""

    @property
    def advertised_url(self) -> str:
        """Base URL that the API is told."""
        host = socket.gethostname() if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104 - compared only
        return self.public_url or f"http://{host}:{self.port}"

    @property
    def compilation_cache(self) -> Path:
        """Folder of compiled programs, which a restarted worker need not compile again."""
        return self.jax_cache_dir or self.root / ".jax-cache"
