"""Account: what the API tells of a run, as an outcome."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aft_contracts import DetectionSpec, EventKind, Schedule
from benchmarks.faults.case import Case
from benchmarks.faults.outcome import AFT, Alarm, Finding, Incident, Outcome, finite

Json = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Account:
    """A run that has ended, as `GET /runs/{id}` and what lies below it tell."""

    run: Json
    events: Sequence[Json]
    """In the order they were recorded."""
    windows: Sequence[Json]
    diagnoses: Sequence[Json]

    def outcome(self, case: Case, detection: DetectionSpec, *, version: str, questions: int, seconds: float) -> Outcome:
        """What aft made of the case's run."""
        truth = case.truth
        armed = self._armed_steps(detection)
        first = truth.first_step
        return Outcome(
            system=AFT,
            case=case.name,
            seed=case.seed,
            version=version,
            steps=sum(end - start for start, end in self._trained()),
            armed_steps=len(armed),
            first_step=first,
            harmed_after=None if first is None else self._trained_before(first),
            armed_before=0 if first is None else len({step for step in armed if step < first}),
            verdict=truth.verdict,
            culprits=tuple(sorted(truth.culprits)),
            alarms=self.alarms(),
            findings=tuple(_finding(diagnosis) for diagnosis in self.diagnoses),
            incidents=self.incidents(),
            replayed_steps=sum(diagnosis["replay_steps"] for diagnosis in self.diagnoses),
            questions=questions,
            status=self.run["status"],
            loss=self._loss(),
            seconds=round(seconds, 2),
            notes={
                "blacklist": [entry["sample_id"] for entry in self.run["schedule"]["blacklist"]],
                "rates": [[change["step"], change["scale"]] for change in self.run["schedule"]["rates"]],
                "mix": [change["step"] for change in self.run["schedule"]["mix"]],
                "reasons": [" ".join(diagnosis["reasons"]) for diagnosis in self.diagnoses],
                "replay_seconds": sum(diagnosis["replay_seconds"] for diagnosis in self.diagnoses),
            },
        )

    def alarms(self) -> tuple[Alarm, ...]:
        """Every alarm, with how many steps had been trained when its event was written."""
        spans = {window["window_id"]: _span(window) for window in self.windows if window["result"]}
        trained, alarms = 0, []
        for event in self.events:
            if event["kind"] == EventKind.WINDOW_COMMITTED:
                start, end = spans[event["details"]["window_id"]]
                trained += end - start
            elif event["kind"] == EventKind.ANOMALY_DETECTED:
                kind = event["details"]["anomaly"]["kind"]
                alarms.append(Alarm(step=event["step"], after=trained, kind=kind))
        return tuple(alarms)

    def incidents(self) -> tuple[Incident, ...]:
        """Repairs, each with those that were made because it had not held."""
        incidents: list[Incident] = []
        goes_on = False
        for event in self.events:
            if event["kind"] == EventKind.REPAIR_FAILED:
                goes_on = True
            elif event["kind"] == EventKind.REPAIR_CHOSEN:
                before = incidents.pop() if goes_on and incidents else Incident(repairs=(), lost_steps=0)
                repair, goes_on = event["details"]["repair"], False
                back_to = repair["rollback_to_step"]
                lost = 0 if back_to is None else event["step"] - back_to
                incidents.append(
                    Incident(repairs=(*before.repairs, repair["kind"]), lost_steps=before.lost_steps + lost)
                )
        return tuple(incidents)

    def _trained(self) -> list[tuple[int, int]]:
        """First step and end of each window that was trained, in order."""
        done = [window for window in self.windows if window["result"]]
        return [_span(window) for window in sorted(done, key=lambda window: window["index"])]

    def _trained_before(self, step: int) -> int | None:
        """Steps that were trained in all before `step` was for the first time; None where it never was."""
        trained = 0
        for start, end in self._trained():
            if start <= step < end:
                return trained + step - start
            trained += end - start
        return None

    def _armed_steps(self, detection: DetectionSpec) -> list[int]:
        """Steps, repeated ones as often as they were trained, on which every detector of steps was armed.

        The last of them is drift. That of held-out scores judges evaluations, and speaks from the fifth of six on.
        """
        schedule = Schedule.model_validate(self.run["schedule"])
        until_armed = detection.cusum_lag + detection.min_steps
        return [
            step
            for start, end in self._trained()
            for step in range(start, end)
            if step - schedule.armed_from(step) >= until_armed
        ]

    def _loss(self) -> float | None:
        losses = [evaluated["scores"]["held_out"]["loss"] for evaluated in self.run["evaluations"]]
        return finite(float(losses[-1])) if self.run["status"] == "succeeded" and losses else None


def _span(window: Json) -> tuple[int, int]:
    return window["start_step"], window["result"]["end_step"]


def _finding(diagnosis: Json) -> Finding:
    steps = [anomaly["step"] for anomaly in diagnosis["anomalies"]]
    return Finding(
        verdict=diagnosis["verdict"],
        first_step=min(steps),
        last_step=max(steps),
        culprits=(*diagnosis["culprits"], *diagnosis["unproven"]),
        banned=tuple(diagnosis["repair"]["blacklist"]) if diagnosis["repair"] else (),
    )
