"""Outcome: what one system made of one run, kept in a file as it comes so that a cut loses nothing."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

AFT = "aft"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One diagnosis."""

    verdict: str
    first_step: int
    """The first anomalous step that it explains."""
    culprits: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a run."""

    system: str
    case: str
    seed: int
    version: str
    """Digest of the code that the run rests on."""
    steps: int
    """Steps that were trained, repeated ones among them."""
    first_step: int | None
    """The first harmful step; None for a control."""
    verdict: str | None
    culprits: tuple[str, ...]
    alarms: tuple[int, ...]
    """Steps that were called anomalous, each once."""
    findings: tuple[Finding, ...] = ()
    repairs: tuple[str, ...] = ()
    """What was done, in order."""
    lost_steps: tuple[int, ...] = ()
    """Steps that each rollback threw away."""
    questions: int = 0
    """How often a human was asked."""
    status: str = "succeeded"
    loss: float | None = None
    """Final held-out loss in nats per token; None where the run did not come to its end, or ended with NaN."""
    seconds: float = 0.0
    notes: dict[str, Any] = field(default_factory=dict)


class Outcomes:
    """All outcomes so far, in a file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[tuple[str, str, int, str], Outcome] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                self._take(_outcome(json.loads(line)))

    def find(self, system: str, case: str, seed: int, version: str) -> Outcome | None:
        """An outcome that is known already."""
        return self._known.get((system, case, seed, version))

    def add(self, outcome: Outcome) -> None:
        """Keeps an outcome, in the file as well."""
        self._take(outcome)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")

    def _take(self, outcome: Outcome) -> None:
        self._known[outcome.system, outcome.case, outcome.seed, outcome.version] = outcome


def as_rows(outcomes: Iterable[Outcome]) -> list[dict[str, Any]]:
    """Outcomes as plain JSON."""
    return [asdict(outcome) for outcome in outcomes]


def _outcome(stored: dict[str, Any]) -> Outcome:
    findings = tuple(Finding(**finding | {"culprits": tuple(finding["culprits"])}) for finding in stored["findings"])
    lists = {name: tuple(stored[name]) for name in ("culprits", "alarms", "repairs", "lost_steps")}
    return Outcome(**stored | lists | {"findings": findings})
