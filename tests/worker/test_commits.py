"""Training runs ahead of the disk; what is committed stays in order, without a gap, and the same to the last bit."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aft_contracts import (
    AnalysisSpec,
    CheckpointRef,
    EvaluationSpec,
    ReplayVariant,
    RunSpec,
    Schedule,
    StepRecord,
    WindowResult,
    WindowSpec,
    window_id_of,
)
from aft_worker.checkpoint.errors import CheckpointNotWritten
from aft_worker.checkpoint.store import CheckpointStore
from aft_worker.commits import EarlierWindowNotCommitted
from aft_worker.control import Unattended
from aft_worker.errors import WorkerError
from aft_worker.ledger.errors import LedgerNotWritten
from aft_worker.ledger.writer import window_path
from aft_worker.refusals import StaleFence
from aft_worker.session import Session
from aft_worker.train.digest import state_digest
from tests.worker.conftest import largest_file, leaves_orbax_tasks

MakeSpec = Callable[..., RunSpec]
OpenSession = Callable[..., Session]
OpenGated = Callable[..., tuple[Session, "GatedStore"]]
WITHIN_S = 60.0


def window(start: int, end: int, schedule: Schedule | None = None) -> WindowSpec:
    schedule = schedule or Schedule()
    return WindowSpec(
        window_id=window_id_of("run", schedule.generation, start),
        run_id="run",
        generation=schedule.generation,
        index=start,
        start_step=start,
        num_steps=end - start,
        schedule=schedule,
    )


class GatedStore(CheckpointStore):
    """A disk that writes once it is let to, unless it is full by then."""

    def __init__(self, session: Session) -> None:
        assert session._live is not None
        super().__init__(session.store.folder, session._live.state, session.store.policy)
        self.lets, self.is_full = threading.Event(), False

    def save(self, *arguments: Any, **named: Any) -> CheckpointRef:
        assert self.lets.wait(WITHIN_S)
        if self.is_full:
            raise CheckpointNotWritten("No space left on device.")
        return super().save(*arguments, **named)


@pytest.fixture
def open_gated(open_session: OpenSession) -> Iterator[OpenGated]:
    """Opens sessions that are past step 0 and save nothing more until they are let to."""
    stores = []

    def open_(spec: RunSpec, name: str = "run") -> tuple[Session, GatedStore]:
        session = open_session(spec, name)
        session.commits.wait()
        session.store = store = GatedStore(session)
        stores.append(store)
        return session, store

    yield open_
    for store in stores:
        store.lets.set()


def committed(session: Session) -> list[int]:
    return sorted(int(path.parent.name) for path in session.store.folder.glob("0/*/manifest.json"))


def in_turn(session: Session, *windows: WindowSpec) -> list[WindowResult]:
    return [session.train_window(spec) for spec in windows]


def figures(result: WindowResult) -> tuple[str, list[dict[str, object]]]:
    """All of a result that must not depend on when it was made."""
    return result.state_digest, [step.model_dump(mode="json", exclude={"seconds"}) for step in result.metrics.steps]


@leaves_orbax_tasks
def test_no_window_is_committed_before_the_state_that_it_began_with(
    make_spec: MakeSpec, open_session: OpenSession
) -> None:
    expected = in_turn(open_session(make_spec(), "undisturbed"), window(0, 4), window(4, 8))
    with largest_file(4000):  # The disk is full by now for a checkpoint's files, though not yet for the ledger's.
        session = open_session(make_spec())
        first = session.begin_window(window(0, 4))
        with pytest.raises(CheckpointNotWritten):
            first.result(WITHIN_S)
        with pytest.raises(CheckpointNotWritten):
            session.train_window(window(0, 4))
    assert committed(session) == []
    results = in_turn(session, window(0, 4), window(4, 8))
    assert [figures(result) for result in results] == [figures(result) for result in expected]
    assert committed(session) == [0, 4, 8]


def test_training_goes_on_while_a_window_is_saved(
    make_spec: MakeSpec, open_gated: OpenGated, open_session: OpenSession
) -> None:
    session, store = open_gated(make_spec())
    ahead = [session.begin_window(window(start, start + 4)) for start in (0, 4)]
    scored = session.evaluate(EvaluationSpec(evaluation_id="e", run_id="run", schedule=Schedule(), step=8))
    assert scored.scores["text"].tokens > 0
    assert (session._live.step, committed(session), [done.done() for done in ahead]) == (8, [0], [False, False])
    store.lets.set()
    results = [done.result(WITHIN_S) for done in ahead]
    waited = in_turn(open_session(make_spec(), "waited"), window(0, 4), window(4, 8))
    assert [figures(result) for result in results] == [figures(result) for result in waited]
    assert committed(session) == [0, 4, 8]
    assert session.trainer.train_step.compilations == 1


def test_a_window_under_way_is_not_trained_again(make_spec: MakeSpec, open_gated: OpenGated) -> None:
    session, store = open_gated(make_spec())
    first = session.begin_window(window(0, 4))
    assert session.begin_window(window(0, 4)) is first
    store.lets.set()
    assert session.begin_window(window(0, 4)).result(WITHIN_S) == first.result(WITHIN_S)


def test_what_a_crash_kept_from_the_disk_is_replayed_bit_identically(
    make_spec: MakeSpec, open_gated: OpenGated, open_session: OpenSession
) -> None:
    session, store = open_gated(make_spec())
    ahead = [session.begin_window(window(start, start + 4)) for start in (0, 4)]
    live = state_digest(session._live.state)
    restarted = open_session(make_spec())
    assert committed(restarted) == [0]
    again = in_turn(restarted, window(0, 4), window(4, 8))
    assert again[-1].state_digest == live
    store.lets.set()  # A writer that outlived the restart finds its own state there and leaves it.
    assert [figures(done.result(WITHIN_S)) for done in ahead] == [figures(result) for result in again]


def test_rolling_back_waits_for_the_disk_and_replays_bit_identically(
    make_spec: MakeSpec, open_gated: OpenGated
) -> None:
    session, store = open_gated(make_spec())
    ahead = [session.begin_window(window(start, start + 4)) for start in (0, 4)]
    threading.Timer(0.3, store.lets.set).start()
    replayed = session.train_window(window(4, 8, Schedule().rolled_back(4)))
    assert committed(session) == [0, 4, 8]
    assert figures(replayed) == figures(ahead[1].result(0))
    assert replayed.checkpoint.generation == 1
    assert session.trainer.train_step.compilations == 1


def test_a_replay_of_a_window_that_is_being_saved_sees_its_steps(make_spec: MakeSpec, open_gated: OpenGated) -> None:
    session, store = open_gated(make_spec())
    ahead = session.begin_window(window(0, 4))
    threading.Timer(0.3, store.lets.set).start()
    spec = AnalysisSpec(
        analysis_id="a",
        run_id="run",
        schedule=Schedule(),
        start_step=2,
        end_step=4,
        variants=(ReplayVariant(name="as_it_was"),),
    )
    (replay,) = session.replay(spec).replays
    assert [step.loss for step in replay.steps] == [step.loss for step in ahead.result(0).metrics.steps[2:]]


def test_nothing_is_committed_past_a_window_that_could_not_be_saved(
    make_spec: MakeSpec, open_gated: OpenGated, open_session: OpenSession
) -> None:
    session, store = open_gated(make_spec())
    ahead = [session.begin_window(window(start, start + 4)) for start in (0, 4)]
    store.is_full = True
    store.lets.set()
    assert isinstance(ahead[0].exception(WITHIN_S), CheckpointNotWritten)
    assert isinstance(ahead[1].exception(WITHIN_S), EarlierWindowNotCommitted)
    store.is_full = False
    with pytest.raises(EarlierWindowNotCommitted, match="the steps from 0 on of generation 0 are not committed"):
        session.begin_window(window(8, 12))
    assert committed(session) == [0]
    again = in_turn(session, window(0, 4), window(4, 8), window(8, 12))
    waited = in_turn(open_session(make_spec(), "waited"), window(0, 4), window(4, 8), window(8, 12))
    assert [figures(result) for result in again] == [figures(result) for result in waited]


@leaves_orbax_tasks
@pytest.mark.parametrize(
    ("most_bytes", "error", "words"),
    [
        (2_000, LedgerNotWritten, r"window run:0:4 could not be written to .*File too large.*make room"),
        (12_000, CheckpointNotWritten, r"step 8 could not be written to .*File too large.*make room"),
    ],
)
def test_a_window_that_the_disk_refuses_fails_and_is_the_same_when_put_again(
    make_spec: MakeSpec, open_session: OpenSession, most_bytes: int, error: type[WorkerError], words: str
) -> None:
    session = open_session(make_spec())
    session.train_window(window(0, 4))
    with largest_file(most_bytes), pytest.raises(error, match=words):
        session.train_window(window(4, 8))
    assert committed(session) == [0, 4]
    again = session.train_window(window(4, 8))
    waited = in_turn(open_session(make_spec(), "waited"), window(0, 4), window(4, 8))
    assert figures(again) == figures(waited[-1])


def test_a_run_that_was_lost_leaves_the_ledger_to_its_new_owner(make_spec: MakeSpec, open_session: OpenSession) -> None:
    is_lost = threading.Event()

    def may_write() -> None:
        if is_lost.is_set():
            raise StaleFence("another has the run")

    session = open_session(make_spec(), may_write=may_write)
    session.train_window(window(0, 4))
    ledger_file = window_path(session.ledger.folder, 0, 4)
    ledger_file.write_bytes(b"the new owner's")
    is_lost.set()
    with pytest.raises(StaleFence):
        session.train_window(window(4, 8))
    assert (ledger_file.read_bytes(), committed(session)) == (b"the new owner's", [0, 4])


def test_steps_that_a_cancelled_window_left_out_are_trained_first(
    make_spec: MakeSpec, open_session: OpenSession
) -> None:
    class AfterThree(Unattended):
        done = 0

        def is_cancelled(self) -> bool:
            return self.done == 3

        def step_finished(self, record: StepRecord) -> None:
            self.done += 1

    session = open_session(make_spec())
    assert session.train_window(window(0, 8), AfterThree()).end_step == 3
    with pytest.raises(EarlierWindowNotCommitted, match="from 3 on"):
        session.train_window(window(8, 12))
    assert [result.end_step for result in in_turn(session, window(3, 8), window(8, 12))] == [8, 12]


def test_a_branch_before_the_gap_does_not_need_it(make_spec: MakeSpec, open_gated: OpenGated) -> None:
    session, store = open_gated(make_spec())
    store.lets.set()
    session.train_window(window(0, 4))
    store.is_full = True
    with pytest.raises(CheckpointNotWritten):
        session.train_window(window(4, 8))
    store.is_full = False
    branched = Schedule().rolled_back(4)
    assert [result.end_step for result in in_turn(session, window(4, 8, branched), window(8, 12, branched))] == [8, 12]


@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_damage_to_a_checkpoint_saved_beside_training_falls_back_with_a_note(
    make_spec: MakeSpec, open_session: OpenSession, tmp_path: Path, damage: str
) -> None:
    session = open_session(make_spec())
    ahead = [session.begin_window(window(start, start + 4)) for start in (0, 4, 8)]
    last = ahead[-1].result(WITHIN_S)
    files = [path for path in (tmp_path / "run/checkpoints/0/8").rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    largest.write_bytes(content if damage == "flipped" else content[:-1])
    (tmp_path / "run/checkpoints/0/12/manifest.json").unlink()
    result = open_session(make_spec()).train_window(window(8, 12))
    assert [note.kind for note in result.notes] == ["checkpoint_fell_back"]
    assert "Checkpoint 8 of generation 0" in result.notes[0].message
    assert figures(result) == figures(last)


def test_closing_commits_what_was_trained(make_spec: MakeSpec, open_session: OpenSession) -> None:
    session = open_session(make_spec())
    ahead = [session.begin_window(window(start, start + 4)) for start in (0, 4)]
    session.close()
    assert [done.result(0).end_step for done in ahead] == [4, 8]
    assert committed(session) == [0, 4, 8]
