"""Outcome: what one system made of one run, kept in a file as it comes so that a cut loses nothing."""

import json
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

AFT = "aft"


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """A step that was called anomalous; called so again after a rollback, it is another alarm."""

    step: int
    """The step that it is about."""
    after: int
    """Steps that were trained in all, repeated ones among them, when it was raised."""
    kind: str = ""
    """Which detector spoke, where there are several."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One diagnosis."""

    verdict: str
    first_step: int
    """The first anomalous step that it explains."""
    last_step: int
    """The last one."""
    culprits: tuple[str, ...] = ()
    """Rows that it names as the cause, whether or not they were shown to do harm."""
    banned: tuple[str, ...] = ()
    """Rows that its repair bans."""


@dataclass(frozen=True, kw_only=True)
class Incident:
    """A repair, and those that followed because it had not held."""

    repairs: tuple[str, ...]
    """What was done, in order."""
    lost_steps: int
    """Steps that its rollbacks threw away in all."""

    @property
    def is_repaired(self) -> bool:
        """Whether no human had to be asked."""
        return "escalate" not in self.repairs


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
    armed_steps: int
    """Those of them on which every detector of the system was armed."""
    first_step: int | None = None
    """The first harmful step; None for a control."""
    harmed_after: int | None = None
    """Steps that were trained in all before the first harmful one was."""
    armed_before: int = 0
    """Steps before the first harmful one on which every detector was armed."""
    verdict: str | None = None
    culprits: tuple[str, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    """In the order they were raised."""
    findings: tuple[Finding, ...] = ()
    incidents: tuple[Incident, ...] = ()
    replayed_steps: int = 0
    """Steps that replays trained beside those of the run."""
    questions: int = 0
    """How often a human was asked."""
    status: str = "succeeded"
    loss: float | None = None
    """Final held-out loss in nats per token; None where the run did not come to its end, or ended with NaN."""
    seconds: float = 0.0
    notes: dict[str, Any] = field(default_factory=dict)


class Outcomes:
    """All outcomes so far, in a file of JSON lines to which several processes may add."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[tuple[str, str, int, str], Outcome] = {}
        self.read()

    def read(self) -> None:
        """Takes in what the file has."""
        for outcome in read_outcomes(self.path) if self.path.exists() else ():
            self._take(outcome)

    def find(self, system: str, case: str, seed: int, version: str) -> Outcome | None:
        """An outcome that is known already."""
        return self._known.get((system, case, seed, version))

    def add(self, outcome: Outcome) -> None:
        """Keeps an outcome, in the file as well."""
        self._take(outcome)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(as_line(outcome))

    def _take(self, outcome: Outcome) -> None:
        self._known[outcome.system, outcome.case, outcome.seed, outcome.version] = outcome


def read_outcomes(path: Path) -> list[Outcome]:
    """The outcomes in a file of JSON lines."""
    return [_outcome(json.loads(line)) for line in path.read_text().splitlines()]


def publish(path: Path, outcomes: Iterable[Outcome]) -> None:
    """Writes the outcomes in a fixed order, without what only whoever looks for a fault needs."""
    ordered = sorted(outcomes, key=lambda one: (one.seed, one.case, one.system))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(as_line(outcome, but=("notes", "seconds")) for outcome in ordered))


def as_line(outcome: Outcome, *, but: tuple[str, ...] = ()) -> str:
    """The outcome as a line of JSON; what has its default is left out."""
    kept = {name: value for name, value in as_json(outcome).items() if name not in but}
    return json.dumps(kept, separators=(",", ":")) + "\n"


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The outcome as plain JSON. An alarm is [step, after, kind], or its step where it was raised at once."""
    stored = _told(outcome)
    if "alarms" in stored:
        stored["alarms"] = [_short(alarm) for alarm in outcome.alarms]
    for name in ("findings", "incidents"):
        if name in stored:
            stored[name] = [_told(one) for one in getattr(outcome, name)]
    return stored


def finite(loss: float | None) -> float | None:
    """The loss, or None for one that is no number."""
    return loss if loss is not None and abs(loss) < float("inf") else None


def _told(record: Any) -> dict[str, Any]:
    """The fields that have another value than their default."""
    return {one.name: value for one in fields(record) if (value := getattr(record, one.name)) != _default(one)}


def _default(one: Any) -> Any:
    return one.default if one.default_factory is MISSING else one.default_factory()


def _short(alarm: Alarm) -> int | list[int | str]:
    at_once = alarm.after == alarm.step + 1 and not alarm.kind
    return alarm.step if at_once else [alarm.step, alarm.after, alarm.kind]


def _alarm(stored: int | list[Any]) -> Alarm:
    step, after, kind = (stored, stored + 1, "") if isinstance(stored, int) else stored
    return Alarm(step=step, after=after, kind=kind)


def _outcome(stored: dict[str, Any]) -> Outcome:
    lists = {
        "culprits": tuple(stored.get("culprits", ())),
        "alarms": tuple(_alarm(alarm) for alarm in stored.get("alarms", ())),
        "findings": tuple(
            Finding(**one | {name: tuple(one.get(name, ())) for name in ("culprits", "banned")})
            for one in stored.get("findings", ())
        ),
        "incidents": tuple(Incident(**one | {"repairs": tuple(one["repairs"])}) for one in stored.get("incidents", ())),
    }
    return Outcome(**stored | lists)
