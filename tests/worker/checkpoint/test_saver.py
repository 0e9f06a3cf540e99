"""The saver: in order, beside its caller, and never more than two in hand."""

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future

import pytest

from aft_worker.checkpoint.saver import Saver
from aft_worker.control import Unattended, WorkerStopping

WITHIN_S = 20.0


@pytest.fixture
def saver() -> Iterator[Saver]:
    saver = Saver()
    yield saver
    saver.close()


class Disk:
    """Writes only while it is let to, and remembers what."""

    def __init__(self) -> None:
        self.lets, self.begun, self.written = threading.Event(), threading.Event(), list[int]()

    def write(self, value: int) -> int:
        self.begun.set()
        assert self.lets.wait(WITHIN_S)
        self.written.append(value)
        return value


def hand_over(saver: Saver, disk: Disk, value: int) -> Future[int]:
    return saver.hand_over(lambda: value, disk.write, Unattended())


def test_saves_are_done_in_order_on_one_other_thread(saver: Saver) -> None:
    threads = [saver.hand_over(lambda: None, lambda _: threading.get_ident(), Unattended()) for _ in range(4)]
    saver.wait()
    assert len({done.result(0) for done in threads}) == 1
    assert threads[0].result() != threading.get_ident()


def test_the_caller_is_free_until_two_are_in_hand(saver: Saver) -> None:
    disk = Disk()
    first, second = hand_over(saver, disk, 1), hand_over(saver, disk, 2)
    taken = threading.Event()

    def third() -> None:
        saver.hand_over(lambda: taken.set() or 3, disk.write, Unattended())

    caller = threading.Thread(target=third)
    caller.start()
    assert not taken.wait(0.3)
    assert not first.done()
    disk.lets.set()
    caller.join(WITHIN_S)
    assert taken.is_set()
    saver.wait()
    assert (first.result(), second.result(), disk.written) == (1, 2, [1, 2, 3])


def test_a_caller_that_waits_for_room_hears_that_it_should_stop(saver: Saver) -> None:
    class Stopping(Unattended):
        def raise_if_stopping(self) -> None:
            raise WorkerStopping

    disk = Disk()
    hand_over(saver, disk, 1)
    hand_over(saver, disk, 2)
    with pytest.raises(WorkerStopping):
        saver.hand_over(lambda: pytest.fail("taken without room"), disk.write, Stopping())
    disk.lets.set()


def test_a_failed_save_is_told_and_the_next_is_done(saver: Saver) -> None:
    failed = saver.hand_over(lambda: 0, lambda zero: 1 // zero, Unattended())
    good = saver.hand_over(lambda: 1, lambda one: one, Unattended())
    with pytest.raises(ZeroDivisionError):
        failed.result(WITHIN_S)
    assert good.result(WITHIN_S) == 1


def test_what_cannot_be_taken_leaves_its_room(saver: Saver) -> None:
    for _ in range(3):
        with pytest.raises(MemoryError):
            saver.hand_over(lambda: exec("raise MemoryError"), lambda nothing: nothing, Unattended())
    assert saver.hand_over(lambda: 1, lambda one: one, Unattended()).result(WITHIN_S) == 1


def test_closing_finishes_what_is_in_hand_and_takes_no_more(saver: Saver) -> None:
    disk = Disk()
    disk.lets.set()
    futures = [hand_over(saver, disk, value) for value in (1, 2)]
    saver.close()
    assert [future.result(0) for future in futures] == [1, 2]
    with pytest.raises(WorkerStopping):
        hand_over(saver, disk, 3)


def test_closing_in_haste_abandons_what_is_not_begun(saver: Saver) -> None:
    disk = Disk()
    running, waiting = hand_over(saver, disk, 1), hand_over(saver, disk, 2)
    assert disk.begun.wait(WITHIN_S)
    saver.close(timeout_s=0.0)
    with pytest.raises(CancelledError):
        waiting.result(0)
    assert not running.done()
    disk.lets.set()
    assert running.result(WITHIN_S) == 1
    saver.close()
    assert disk.written == [1]
