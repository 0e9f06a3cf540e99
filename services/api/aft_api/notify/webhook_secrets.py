"""Secrets of webhooks: which one signs what goes where."""

from collections.abc import Mapping
from datetime import datetime
from urllib.parse import urlsplit

from standardwebhooks import Webhook
from standardwebhooks.webhooks import EmptyWebhookSecretError


class WebhookSecrets:
    """Signs for each receiver with its own secret, or with the one for all.

    A value may hold several secrets, separated by spaces: each signs, so that a receiver can change from one to the
    next (Standard Webhooks 1.0.0, "Signature scheme").
    """

    def __init__(self, for_all: str | None = None, by_host: Mapping[str, str] | None = None) -> None:
        self._for_all = _signers("AFT_WEBHOOK_SECRET", for_all) if for_all is not None else ()
        self._by_host = {
            host.lower(): _signers(f"AFT_WEBHOOK_SECRETS[{host!r}]", secrets)
            for host, secrets in (by_host or {}).items()
        }

    def signature(self, url: str, webhook_id: str, at: datetime, body: str) -> str | None:
        """The `webhook-signature` header; None where no secret signs."""
        signers = self._signers_for(url)
        return " ".join(signer.sign(webhook_id, at, body) for signer in signers) or None

    def _signers_for(self, url: str) -> tuple[Webhook, ...]:
        try:
            parts = urlsplit(url)
            names = (parts.netloc.rpartition("@")[2].lower(), (parts.hostname or "").lower())
        except ValueError:
            return self._for_all  # no URL that could be posted to
        return next((self._by_host[name] for name in names if name in self._by_host), self._for_all)


def _signers(setting: str, secrets: str) -> tuple[Webhook, ...]:
    try:
        signers = tuple(Webhook(secret) for secret in secrets.split())
    except (ValueError, EmptyWebhookSecretError) as error:
        raise ValueError(f"{setting} must be `whsec_` and base64.") from error
    if not signers:
        raise ValueError(f"{setting} is empty; unset it to send webhooks unsigned, or give `whsec_` and base64.")
    return signers
