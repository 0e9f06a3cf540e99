"""Settings of the API process, from AFT_* environment variables."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Everything the control plane can be told; the defaults run it on one machine without a server."""

    model_config = SettingsConfigDict(env_prefix="AFT_", frozen=True, use_attribute_docstrings=True)

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8800, ge=0, le=65535)
    """Port to listen on."""
    data_dir: Path = Path(".aft/api")
    """Folder of the SQLite files and, unless set apart, of the artifacts."""
    database_url: str | None = None
    """`postgresql://…` for production; None keeps SQLite files in `data_dir`."""
    artifacts_dir: Path | None = None
    """Folder of the per-run artifacts; None means `data_dir`/artifacts."""
    worker_urls: tuple[str, ...] = ("http://127.0.0.1:8801",)
    """Base URLs of workers that are asked for their heartbeat, as a JSON list; others send theirs."""
    worker_look_s: float = Field(default=5.0, gt=0)
    """How often those workers are asked, in seconds."""
    worker_lost_s: float = Field(default=30.0, gt=0)
    """How long a worker may be silent before its runs are given to others, in seconds."""
    public_url: str = "http://127.0.0.1:8800"
    """Where people reach this API; links in notifications begin with it."""
    lease_s: float = Field(default=30.0, gt=0)
    """How long a run stays owned without a heartbeat, in seconds."""
    poll_s: float = Field(default=25.0, gt=0, le=60)
    """How long one long poll of a worker waits, in seconds."""
    retry_s: float = Field(default=2.0, gt=0)
    """Pause before a worker that did not answer is tried again, in seconds."""
    drain_s: float = Field(default=10.0, gt=0)
    """How long a shutdown lets runs come to a cycle's end, in seconds; windows at workers are not waited for."""
    notify_timeout_s: float = Field(default=15.0, gt=0, le=120)
    """What one attempt to send a notification may take, in seconds."""
    webhook_secret: SecretStr | None = None
    """`whsec_…` secret that signs webhooks; two separated by a space sign twice, while receivers change over. None
    sends them unsigned."""
    webhook_secrets: dict[str, SecretStr] = {}
    """Secrets for single receivers instead, by `host` or `host:port`, as a JSON object."""
    slack_token: SecretStr | None = None
    """Bot token for Slack messages."""
    slack_signing_secret: SecretStr | None = None
    """Signing secret of the Slack app; without it button clicks are refused."""
    slack_base_url: str = "https://slack.com/api/"
    """Slack's Web API."""
    slack_approvers: tuple[str, ...] = ()
    """Slack user ids whose button clicks count, as a JSON list."""

    @property
    def artifacts_root(self) -> Path:
        """Folder that holds a folder of artifacts per run."""
        return self.artifacts_dir or self.data_dir / "artifacts"
