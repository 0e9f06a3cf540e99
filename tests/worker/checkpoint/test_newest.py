"""The newest commit, read beside a session that trains."""

from collections.abc import Callable
from pathlib import Path

from aft_contracts import RunSpec, Schedule, WindowSpec
from aft_worker.checkpoint.newest import newest_commit
from aft_worker.session import Session


def train(session: Session, start: int, index: int, schedule: Schedule | None = None) -> None:
    schedule = schedule or Schedule()
    session.train_window(
        WindowSpec(
            window_id=f"run:{schedule.generation}:{index}",
            run_id="run",
            generation=schedule.generation,
            index=index,
            start_step=start,
            num_steps=2,
            schedule=schedule,
        )
    )


def stand(folder: Path) -> tuple[int, int] | None:
    commit = newest_commit(folder)
    return None if commit is None else (commit.generation, commit.step)


def test_the_newest_generation_goes_before_the_highest_step(
    make_spec: Callable[..., RunSpec], open_session: Callable[..., Session], tmp_path: Path
) -> None:
    folder = tmp_path / "run" / "checkpoints"
    assert stand(folder) is None
    session = open_session(make_spec())
    session.commits.wait()
    assert stand(folder) == (0, 0)
    train(session, 0, 0)
    train(session, 2, 1)
    assert stand(folder) == (0, 4)
    branched = Schedule().with_clip(0.5, step=1).rolled_back(0)
    train(session, 0, 2, branched)
    commit = newest_commit(folder)
    assert commit is not None
    assert (commit.generation, commit.step, commit.schedule) == (1, 2, branched)


def test_what_was_not_committed_or_is_damaged_is_passed_over(
    make_spec: Callable[..., RunSpec], open_session: Callable[..., Session], tmp_path: Path
) -> None:
    folder = tmp_path / "run" / "checkpoints"
    session = open_session(make_spec())
    for index in range(3):
        train(session, 2 * index, index)
    (folder / "0/6/manifest.json").unlink()
    assert stand(folder) == (0, 4)
    record = folder / "0/4/record/metadata"
    record.write_text(record.read_text().replace('"version": 0', '"version": 1'))
    assert stand(folder) == (0, 2)
