"""Which route asks for what. A route that is not listed is an admin's alone, and a test fails until it is listed."""

from enum import Enum

from starlette.routing import compile_path

from aft_contracts import Role


class Door(Enum):
    """What a route asks for, where that is no role of people."""

    OPEN = "open"
    """Nothing: a probe, or a route that proves its caller by itself."""
    WORKER = "worker"
    """The workers' own credential, and nobody else's."""


Need = Role | Door

RULES: dict[tuple[str, str], Need] = {
    ("GET", "/healthz"): Door.OPEN,
    ("POST", "/slack/interactions"): Door.OPEN,  # Slack's signature over the raw body
    ("GET", "/answer/{token}"): Door.OPEN,  # the token in the address, signed and expiring
    ("POST", "/answer/{token}"): Door.OPEN,
    ("POST", "/workers/{worker_id}/heartbeat"): Door.WORKER,
    ("GET", "/runs"): Role.VIEWER,
    ("POST", "/runs"): Role.OPERATOR,
    ("GET", "/runs/{run_id}"): Role.VIEWER,
    ("GET", "/runs/{run_id}/commands"): Role.VIEWER,
    ("POST", "/runs/{run_id}/commands"): Role.OPERATOR,
    ("GET", "/runs/{run_id}/events"): Role.VIEWER,
    ("GET", "/runs/{run_id}/steps"): Role.VIEWER,
    ("GET", "/runs/{run_id}/windows"): Role.VIEWER,
    ("GET", "/runs/{run_id}/diagnoses"): Role.VIEWER,
    ("GET", "/runs/{run_id}/blacklist"): Role.VIEWER,
    ("GET", "/runs/{run_id}/checkpoints"): Role.VIEWER,
    ("GET", "/runs/{run_id}/samples"): Role.VIEWER,
    ("GET", "/reviews"): Role.VIEWER,
    ("GET", "/reviews/{review_id}"): Role.VIEWER,
    ("GET", "/reviews/{review_id}/picture.svg"): Role.VIEWER,
    ("GET", "/reviews/{review_id}/interrupt"): Role.VIEWER,
    ("POST", "/reviews/{review_id}/response"): Role.OPERATOR,
    ("GET", "/notifications"): Role.VIEWER,
    ("GET", "/notifications/targets"): Role.VIEWER,
    ("POST", "/notifications/replay"): Role.OPERATOR,
    ("POST", "/notifications/{seq}/replay"): Role.OPERATOR,
    ("POST", "/notifications/targets/{target_id}/enable"): Role.OPERATOR,
    ("POST", "/data/preview"): Role.OPERATOR,  # shows rows as they are
    ("GET", "/workers"): Role.VIEWER,
    ("POST", "/workers/{worker_id}/drain"): Role.OPERATOR,
    ("POST", "/workers/{worker_id}/resume"): Role.OPERATOR,
    ("GET", "/tokens"): Role.ADMIN,
    ("POST", "/tokens"): Role.ADMIN,
    ("DELETE", "/tokens/{token_id}"): Role.ADMIN,
    ("GET", "/openapi.json"): Role.VIEWER,
    ("GET", "/docs"): Role.VIEWER,
    ("GET", "/docs/oauth2-redirect"): Role.VIEWER,
    ("GET", "/redoc"): Role.VIEWER,
}
_COMPILED = [(method, compile_path(path)[0], need) for (method, path), need in RULES.items()]
_RANK = {role: rank for rank, role in enumerate(Role)}


def need_of(method: str, path: str) -> Need:
    """What a request asks for, by the same patterns that the router matches paths with."""
    asked = "GET" if method == "HEAD" else method
    return next((need for listed, pattern, need in _COMPILED if listed == asked and pattern.match(path)), Role.ADMIN)


def may(role: Role, need: Role) -> bool:
    """Whether a role may do what another one is needed for."""
    return _RANK[role] >= _RANK[need]
