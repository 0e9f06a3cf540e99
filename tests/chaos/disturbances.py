"""The schedule of a chaos run: a pure function of its seed, printed so that a failure can be played again."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What is done to the running system."""

    KILL_API = "kill_api"
    KILL_WORKER = "kill_worker"
    KILL_BOTH = "kill_both"
    KILL_POSTGRES = "kill_postgres"
    FREEZE_API = "freeze_api"
    FREEZE_WORKER = "freeze_worker"
    DROP_REQUEST = "drop_request"
    DROP_RESPONSE = "drop_response"
    DUPLICATE = "duplicate"
    LATE_DUPLICATE = "late_duplicate"
    DELAY = "delay"
    TRUNCATE = "truncate"
    FULL_DISK = "full_disk"
    DEAF_RECEIVER = "deaf_receiver"


class Moment(StrEnum):
    """What is waited for before it is done, and at most `PATIENCE_S` long."""

    ANY = "any"
    MID_WINDOW = "mid_window"
    SAVING = "saving"
    COMMITTED = "committed"


class Store(StrEnum):
    """Where the API keeps its facts."""

    SQLITE = "sqlite"
    POSTGRES = "postgres"


Deed = tuple[Kind, str]
"""What is done; on the wire, to requests of which method."""

KILLS = {Kind.KILL_API: 1, Kind.KILL_WORKER: 1, Kind.KILL_BOTH: 2, Kind.KILL_POSTGRES: 1}
"""How many processes each kind kills with SIGKILL; Postgres counts as one."""

ON_THE_WIRE = (
    Kind.DROP_REQUEST, Kind.DROP_RESPONSE, Kind.DUPLICATE, Kind.LATE_DUPLICATE, Kind.DELAY, Kind.TRUNCATE,
)  # fmt: skip
METHODS = ("PUT", "GET", "POST", "DELETE")
"""Requests to the worker. Of its POSTs only those that cancel a window: the other two change nothing, as GETs do."""


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """One thing that goes wrong."""

    kind: Kind
    moment: Moment = Moment.ANY
    after_s: float = 0.0
    """Pause between that moment and the deed."""
    lasts_s: float = 0.0
    """How long a process is away or frozen, an answer or a repetition late."""
    replica: int = 0
    """Which API it meets."""
    method: str = ""
    """Which requests to the worker it meets, on the wire; it waits for them."""
    room_bytes: int = 0
    """What still fits on a full disk."""
    times: int = 1
    """How many of them; or how many deliveries the receiver of webhooks refuses."""

    @property
    def deed(self) -> Deed:
        """What is done, to which requests."""
        return self.kind, self.method

    def __str__(self) -> str:
        target = f" {self.method}" * bool(self.method) + f" of api {self.replica}" * (self.kind in _ONE_API)
        times = f" {self.times} times" * (self.times > 1)
        return f"{self.kind}{target}{times}, {self.after_s:.2f} s after {self.moment}, for {self.lasts_s:.2f} s"


_ONE_API = {Kind.KILL_API, Kind.KILL_BOTH, Kind.FREEZE_API}


def schedule(seed: int, *, kills: int, others: int, store: Store, lease_s: float) -> tuple[Disturbance, ...]:
    """Disturbances that kill `kills` processes or one more, with `others` among them that kill nobody."""
    rng = random.Random(seed)
    chosen: list[Disturbance] = []
    killed = 0
    deadly = [Kind.KILL_WORKER, Kind.KILL_POSTGRES, Kind.KILL_API, Kind.KILL_BOTH]
    while killed < kills:
        # Each kind in its turn, so that even a short schedule has them all.
        kind = deadly[len(chosen) % len(deadly)] if len(chosen) < len(deadly) else rng.choice(deadly)
        if store is Store.SQLITE and kind is Kind.KILL_POSTGRES:
            kind = Kind.KILL_API
        chosen.append(_kill(rng, kind, store))
        killed += KILLS[kind]
    chosen += _all_bloodless(rng, others, store, lease_s)
    rng.shuffle(chosen)
    return tuple(chosen)


def unmet(told: Sequence[Disturbance], met: Mapping[Deed, int]) -> list[str]:
    """Disturbances that met nothing, in words: what met nothing has tested nothing."""
    planned: Counter[Deed] = Counter()
    for one in told:
        planned[one.deed] += one.times
    return [
        f"{f'{kind} {method}'.strip()} met {met.get((kind, method), 0)} of {count}"
        for (kind, method), count in planned.items()
        if met.get((kind, method), 0) < count
    ]


def kills_in(disturbances: tuple[Disturbance, ...]) -> int:
    """How many processes they kill."""
    return sum(KILLS.get(one.kind, 0) for one in disturbances)


def _kill(rng: random.Random, kind: Kind, store: Store) -> Disturbance:
    return Disturbance(
        kind=kind,
        moment=rng.choice(list(Moment)),
        after_s=rng.choice((0.0, 0.0, rng.uniform(0, 0.3), rng.uniform(0, 1.5))),
        lasts_s=rng.choice((0.0, rng.uniform(0, 1.0))),
        replica=_replica(rng, store),
    )


def _all_bloodless(rng: random.Random, count: int, store: Store, lease_s: float) -> list[Disturbance]:
    """In rounds of each kind once, and on the wire with each method in its turn, so that no long one lacks any."""
    kinds = [Kind.FREEZE_API, Kind.FREEZE_WORKER, Kind.FULL_DISK, Kind.DEAF_RECEIVER, *ON_THE_WIRE]
    methods = rng.sample(METHODS, len(METHODS))
    made: list[Disturbance] = []
    for number in range(-(-count // len(kinds))):
        for kind in rng.sample(kinds, len(kinds)):
            # Kinds that are alike are neighbours: after two rounds they have met every method between them.
            alike, second = divmod(ON_THE_WIRE.index(kind), 2) if kind in ON_THE_WIRE else (0, 0)
            method = methods[(number + alike + 2 * second) % len(methods)]
            made.append(_bloodless(rng, kind, method, store, lease_s))
    return made[:count]


def _bloodless(rng: random.Random, kind: Kind, method: str, store: Store, lease_s: float) -> Disturbance:
    is_on_the_wire = kind in ON_THE_WIRE
    lasts_s = {
        Kind.FREEZE_API: lease_s + rng.uniform(0.5, 2.0),
        Kind.FREEZE_WORKER: lease_s + rng.uniform(0.5, 2.0),
        Kind.DELAY: rng.uniform(0.2, 1.5),
        Kind.LATE_DUPLICATE: rng.uniform(0.5, 6.0),
    }.get(kind, 0.0)
    return Disturbance(
        kind=kind,
        moment=Moment.MID_WINDOW if kind is Kind.FULL_DISK else rng.choice(list(Moment)),
        after_s=rng.choice((0.0, rng.uniform(0, 1.0))),
        lasts_s=lasts_s,
        replica=_replica(rng, store) if kind is Kind.FREEZE_API else 0,
        method=method if is_on_the_wire else "",
        room_bytes=rng.choice((0, 4_096, 20_480)) if kind is Kind.FULL_DISK else 0,
        # A run is released once, at its end.
        times=rng.randint(1, 3) if (is_on_the_wire and method != "DELETE") or kind is Kind.DEAF_RECEIVER else 1,
    )


def _replica(rng: random.Random, store: Store) -> int:
    return rng.randrange(2) if store is Store.POSTGRES else 0
