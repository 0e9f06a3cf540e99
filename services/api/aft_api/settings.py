"""Settings of the API process, from AFT_* environment variables."""

from ipaddress import ip_address
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, IPvAnyNetwork, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from aft_api.workers.address import address_fault
from aft_contracts import Role

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"]


class Settings(BaseSettings):
    """Everything the control plane can be told; the defaults run it on one machine without a server."""

    model_config = SettingsConfigDict(env_prefix="AFT_", frozen=True, use_attribute_docstrings=True)

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8800, ge=0, le=65535)
    """Port to listen on."""
    data_dir: Path = Path(".aft/api")
    """Folder of the SQLite files and, unless set apart, of the artifacts."""
    database_url: str | None = Field(default=None, repr=False)
    """`postgresql://…` for production; unset keeps SQLite files in `data_dir`."""
    artifacts_dir: Path | None = None
    """Folder of the per-run artifacts; unset means `data_dir`/artifacts."""
    worker_urls: tuple[str, ...] = ("http://127.0.0.1:8801",)
    """Base URLs of workers that are asked for their heartbeat, as a JSON list; others send theirs."""
    worker_look_s: float = Field(default=5.0, gt=0)
    """How often those workers are asked, in seconds."""
    worker_lost_s: float = Field(default=30.0, gt=0)
    """How long a worker may be silent before its runs are given to others, in seconds."""
    public_url: str = "http://127.0.0.1:8800"
    """Where people reach this API; links in notifications begin with it."""
    lease_s: float = Field(default=30.0, gt=0)
    """Within this another process has taken over what a dead one drove, in seconds: a lease lasts nine tenths of it."""
    poll_s: float = Field(default=25.0, gt=0, le=60)
    """How long one long poll of a worker waits, in seconds."""
    retry_s: float = Field(default=2.0, gt=0)
    """Pause before a worker that did not answer is tried again, in seconds."""
    job_silence_s: float = Field(default=1800.0, gt=0)
    """How long a worker may show a job without any change before that counts as a failed attempt, in seconds."""
    drain_s: float = Field(default=10.0, gt=0)
    """How long a shutdown lets runs come to a cycle's end, in seconds; windows at workers are not waited for."""
    auth: Literal["auto", "required"] = "auto"
    """`auto` asks for tokens unless only this machine reaches `host`; `required` asks always, as behind a proxy."""
    worker_token: SecretStr | None = Field(default=None, min_length=16)
    """What workers and the API prove themselves to each other with; the same in the settings of both."""
    oidc_issuer: str | None = None
    """`iss` of the OIDC tokens that count besides API tokens; unset lets none count."""
    oidc_audience: str | None = None
    """`aud` that they must name."""
    oidc_jwks_url: str | None = None
    """Where the issuer publishes its keys."""
    oidc_algorithms: tuple[Literal["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"], ...] = (
        "RS256",
        "ES256",
    )
    """Signature algorithms that count; those with a shared secret cannot be listed."""
    oidc_role_claim: str = "roles"
    """Claim that tells what its bearer may do; dots go down into it (`realm_access.roles`)."""
    oidc_roles: dict[str, Role] = {}
    """What its values are worth, as a JSON object: `{"ml-team": "operator"}`. A token worth nothing is refused."""
    requests_per_s: float = Field(default=50.0, gt=0)
    """Requests a second that one token may send, counted by each process of the API; four seconds' worth at once."""
    most_body_bytes: int = Field(default=4 * 2**20, ge=1024)
    """Longest body of a request, in bytes."""
    outgoing_allow: tuple[IPvAnyNetwork, ...] = ()
    """Networks that are not public and that webhooks may go to all the same, such as `10.0.0.0/8`, as a JSON list."""
    notify_timeout_s: float = Field(default=15.0, gt=0, le=120)
    """What one attempt to send a notification may take, in seconds."""
    notify_keep_days: float = Field(default=30.0, gt=0)
    """How long messages are kept that have arrived, in days; those of a run that goes on stay."""
    webhook_secret: SecretStr | None = None
    """`whsec_…` secret that signs webhooks; two separated by a space sign twice, while receivers change over. unset
    sends them unsigned."""
    webhook_secrets: dict[str, SecretStr] = {}
    """Secrets for single receivers instead, by `host` or `host:port`, as a JSON object."""
    link_secret: SecretStr | None = Field(default=None, min_length=32)
    """Secret of at least 32 characters that signs approve links; without it messages carry none."""
    link_ttl_h: float = Field(default=72.0, gt=0, le=24 * 365)
    """How long an approve link is good, in hours; never longer than the question's deadline."""
    slack_webhooks: dict[str, SecretStr] = {}
    """URLs of Slack incoming webhooks by the name that a run's spec calls them, as a JSON object."""
    slack_token: SecretStr | None = None
    """Bot token for Slack messages."""
    slack_signing_secret: SecretStr | None = None
    """Signing secret of the Slack app; without it button clicks are refused."""
    slack_base_url: str = "https://slack.com/api/"
    """Slack's Web API."""
    slack_approvers: tuple[str, ...] = ()
    """Slack user ids whose button clicks count, as a JSON list."""

    @field_validator("worker_urls")
    @classmethod
    def _worker_urls_are_addresses(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            if (wrong := address_fault(url)) is not None:
                raise ValueError(f"{url!r} is no address of a worker; it {wrong}. Correct AFT_WORKER_URLS.")
        return urls

    @model_validator(mode="after")
    def _oidc_is_whole(self) -> Self:
        if self.oidc_issuer is not None:
            needed = {
                "AFT_OIDC_AUDIENCE": self.oidc_audience,
                "AFT_OIDC_JWKS_URL": self.oidc_jwks_url,
                "AFT_OIDC_ROLES": self.oidc_roles,
            }
            missing = [name for name, value in needed.items() if not value]
            if missing:
                raise ValueError(f"AFT_OIDC_ISSUER needs {', '.join(missing)} too")
        return self

    @property
    def requires_authentication(self) -> bool:
        """Whether a request needs a token."""
        return self.auth == "required" or not is_loopback(self.host)

    @property
    def artifacts_root(self) -> Path:
        """Folder that holds a folder of artifacts per run."""
        return self.artifacts_dir or self.data_dir / "artifacts"


def is_loopback(host: str) -> bool:
    """Whether an address to listen on, or the name in a Host header, means this machine alone."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
