"""Carries a schedule out on the whole system while runs are trained on it, and gathers what is left of them."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.acceptance.processes import ENDED, Service
from tests.chaos.course import Courses, answer_open_reviews, submit
from tests.chaos.disturbances import ON_THE_WIRE, Deed, Disturbance, Kind, Moment, Store
from tests.chaos.facts import Facts, gather, make_notifications_due, pending_notifications
from tests.chaos.interruptions import Interruptions
from tests.chaos.own_exit import OwnExit
from tests.chaos.postgres import Postgres
from tests.chaos.system import System, freeze, has_been_killed, is_frozen, processes_of, system, thaw

LEASE_S = 2.0
FAILURES = {"window_failed", "job_failed"}
PATIENCE_S = 10.0
"""How long a moment is waited for; after that the deed is done all the same."""
RUN_WITHIN_S = 240.0
"""How long a run may take once nothing is disturbed any more."""
DELIVERED_WITHIN_S = 60.0
DISK_FELT_WITHIN_S = 60.0
"""How long the disk stays full for an attempt to fail of it."""
MET_WITHIN_S = 180.0
"""How long runs go on after the last disturbance for faults that have met nothing yet."""
LOOK_EVERY_S = 0.03


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What is left after a schedule."""

    runs: tuple[Facts, ...]
    interrupted: tuple[Facts, ...]
    """Runs that people paused."""
    logs: tuple[str, ...]
    """What the APIs printed."""
    own_exits: tuple[OwnExit, ...]
    orphans: tuple[str, ...]
    """Processes that are still there after everything was stopped."""
    disk: str
    """What the worker wrote on."""
    met: Counter[Deed]
    """What was done and met something, and how often."""
    seconds: float


@dataclass(kw_only=True)
class Chaos:
    """One system, the runs on it, and the disturbances on their way."""

    system: System
    spec: dict[str, Any]
    interruptions: Interruptions
    say: Callable[[str], None]
    run_ids: list[str] = field(default_factory=list)
    goes_on: bool = False
    """Whether another run is begun when the last one has ended."""
    _met: Counter[Deed] = field(default_factory=Counter)

    @property
    def run_id(self) -> str:
        """The newest run."""
        return self.run_ids[-1]

    def begin_run(self) -> None:
        """Submit one more run."""
        self.run_ids.append(submit(self.system, self.spec, key=f"chaos-{len(self.run_ids)}"))

    def carry_out(self, disturbances: tuple[Disturbance, ...]) -> None:
        """Do it all, in order, with always a run under way to be disturbed."""
        self.goes_on = True
        for number, told in enumerate(disturbances, 1):
            self._await(told.moment)
            self._look_for(told.after_s)
            self.say(f"{number}/{len(disturbances)} run {len(self.run_ids)}: {told}")
            self._do(told)
        until = time.monotonic() + MET_WITHIN_S
        while (self.system.proxy.waits or self.system.receiver.deaf_for) and time.monotonic() < until:
            make_notifications_due(self.system)
            self._look_for(0.2)
        self.goes_on = False

    @property
    def met(self) -> Counter[Deed]:
        """What was done and met something."""
        refused = Counter({(Kind.DEAF_RECEIVER, ""): self.system.receiver.refused})
        return self._met + self.system.proxy.met + refused

    def finish(self) -> None:
        """Wait until every run has ended and every message has left."""
        self.system.wait_well()
        deadline = time.monotonic() + RUN_WITHIN_S
        begun = [*self.run_ids, *self.interruptions.run_ids]
        while not all(self._has_ended(run_id) for run_id in begun):
            assert time.monotonic() < deadline, f"{begun} do not all end:\n{self._logs()}"
            self._look_for(0.1)
        deadline = time.monotonic() + DELIVERED_WITHIN_S
        while pending_notifications(self.system):
            assert time.monotonic() < deadline, f"messages do not leave:\n{self._logs()}"
            make_notifications_due(self.system)
            self._look_for(0.5)

    def _look_for(self, seconds: float) -> None:
        """Let time pass, and do meanwhile what people and process managers do."""
        until = time.monotonic() + seconds
        while True:
            self.system.restart_what_ended()
            answer_open_reviews(self.system)
            self.interruptions.go_on()
            if self.goes_on and self._has_ended(self.run_id):
                self.begin_run()
            if time.monotonic() >= until:
                return
            time.sleep(min(LOOK_EVERY_S, max(0.0, until - time.monotonic())))

    def _has_ended(self, run_id: str) -> bool:
        response = self.system.ask_once("GET", f"/runs/{run_id}")
        return response is not None and response.status_code == 200 and response.json()["status"] in ENDED

    def _await(self, moment: Moment) -> None:
        """Wait until the newest run is in that moment, or patience ends."""
        until = time.monotonic() + PATIENCE_S
        seen = self._last_window()
        while time.monotonic() < until and moment is not Moment.ANY:
            now = self._last_window()
            if now is not None and _is(moment, now, seen):
                return
            seen = seen or now
            self._look_for(0.0)
            time.sleep(LOOK_EVERY_S)

    def _last_window(self) -> dict[str, Any] | None:
        response = self.system.ask_once("GET", f"/runs/{self.run_id}/windows")
        windows = response.json()["windows"] if response is not None and response.status_code == 200 else []
        return {**windows[-1], "count": len(windows)} if windows else None

    def _do(self, told: Disturbance) -> None:
        api, worker, store = self.system.apis[told.replica], self.system.worker, self.system.postgres
        match told.kind:
            case Kind.KILL_API:
                self._kill(told, [api])
            case Kind.KILL_WORKER:
                self._kill(told, [worker])
            case Kind.KILL_BOTH:
                self._kill(told, [api, worker])
            case Kind.KILL_POSTGRES:
                assert store is not None
                self._kill(told, [store])
            case Kind.FREEZE_API:
                self._freeze(told, api)
            case Kind.FREEZE_WORKER:
                self._freeze(told, worker)
            case Kind.FULL_DISK:
                self._fill_disk(told)
            case Kind.DEAF_RECEIVER:
                self.system.receiver.deaf_for += told.times
            case kind:
                assert kind in ON_THE_WIRE
                self.system.proxy.tell(told)

    def _kill(self, told: Disturbance, doomed: Sequence[Service | Postgres]) -> None:
        for one in doomed:
            one.kill()
        self._met[told.deed] += all(has_been_killed(one) for one in doomed)
        time.sleep(told.lasts_s)
        for one in doomed:
            one.start()

    def _freeze(self, told: Disturbance, service: Service) -> None:
        freeze(service)
        time.sleep(told.lasts_s)
        self._met[told.deed] += is_frozen(service)
        thaw(service)

    def _fill_disk(self, told: Disturbance) -> None:
        """The disk is full until an attempt has failed of it."""
        since = len(self.run_ids) - 1
        failed = self._failed_of_disk(since)
        self.system.disk.fill(told.room_bytes)
        until = time.monotonic() + DISK_FELT_WITHIN_S
        while time.monotonic() < until and self._failed_of_disk(since) <= failed:
            self._look_for(LOOK_EVERY_S)
        self._met[told.deed] += self._failed_of_disk(since) > failed
        self.system.disk.free()

    def _failed_of_disk(self, since: int) -> int:
        """Attempts of the newest runs, from number `since` on."""
        return sum(self._failures_of_disk(run_id) for run_id in self.run_ids[since:])

    def _failures_of_disk(self, run_id: str) -> int:
        response = self.system.ask("GET", f"/runs/{run_id}/events", params={"limit": 1000})
        assert response.status_code == 200, response.text
        codes = (event["details"]["code"] for event in response.json()["events"] if event["kind"] in FAILURES)
        return sum(code == "storage_failed" for code in codes)

    def _logs(self) -> str:
        services = (*self.system.apis, self.system.worker)
        return "\n".join(f"== {service.log.name}\n{service.log.read_text()[-3000:]}" for service in services)


def _is(moment: Moment, now: dict[str, Any], before: dict[str, Any] | None) -> bool:
    match moment:
        case Moment.MID_WINDOW:
            return bool(now["status"] == "running")
        case Moment.SAVING:
            return bool(now["status"] == "trained")
        case _:
            return before is not None and bool(now["count"] > before["count"])


def chaos(
    folder: Path,
    compiled: Path,
    courses: Courses,
    disturbances: tuple[Disturbance, ...],
    store: Store,
    *,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> Outcome:
    """Runs on a system in `folder`, disturbed, as many as the schedule lasts; one of each course where it is empty."""
    began = time.monotonic()
    with system(folder, compiled, store, lease_s=LEASE_S, replicas=2 if store is Store.POSTGRES else 1) as whole:
        whole.start()
        interruptions = Interruptions(system=whole, spec=courses.interrupted, ended=frozenset(ENDED))
        disturbed = Chaos(system=whole, spec=courses.asking, interruptions=interruptions, say=say)
        disturbed.begin_run()
        if not disturbances:
            interruptions.begin_run()
        disturbed.carry_out(disturbances)
        disturbed.finish()
        runs = tuple(gather(whole, run_id) for run_id in disturbed.run_ids)
        interrupted = tuple(gather(whole, run_id) for run_id in interruptions.run_ids)
        whole.stop()
        server = None if whole.postgres is None else whole.postgres.server.pgdata
    return Outcome(
        runs=runs,
        interrupted=interrupted,
        logs=tuple(api.log.read_text() for api in whole.apis),
        own_exits=tuple(whole.own_exits),
        orphans=tuple(processes_of(folder, *([server] if server else []))),
        disk=whole.disk.name,
        met=disturbed.met,
        seconds=time.monotonic() - began,
    )
