"""The training thread outlives whatever its tasks do."""

from threading import Event

import structlog

from aft_worker.training_thread import Task, TrainingThread

WITHIN_S = 60.0


def fail(*_: object) -> None:
    raise OSError("the disk is gone")


def test_failure_that_nobody_could_be_told_of_does_not_end_the_thread() -> None:
    thread, is_done = TrainingThread(), Event()
    with structlog.testing.capture_logs() as logs:
        thread.start()
        thread.submit(Task(name="evaluations", run=fail, failed=fail))
        thread.submit(Task(name="windows", run=is_done.set, failed=fail))
        assert is_done.wait(WITHIN_S)
        assert thread.stop(WITHIN_S)
    assert [(line["event"], line["task"]) for line in logs] == [
        ("task_failed", "evaluations"),
        ("task_failure_not_told", "evaluations"),
    ]
