"""Both ends of the pipe."""

import sys

import pytest

from benchmarks.peers.turns import Child, ChildFailed

ADDS_UP = """
from benchmarks.peers.turns import Turns
turns = Turns()
print("libraries print what they like")
turns.answer({"loaded": True})
total = 0
while (steps := turns.await_turn()) is not None:
    total += steps
    turns.answer({"total": total})
"""


def test_the_child_takes_its_turns_and_ends_when_nobody_asks() -> None:
    with Child([sys.executable, "-c", ADDS_UP], timeout_s=20) as child:
        assert child.ready == {"loaded": True}
        assert [child.take(2), child.take(3)] == [{"total": 2}, {"total": 5}]
        process = child._process
    assert process.returncode == 0


def test_a_child_that_dies_is_told_of() -> None:
    with pytest.raises(ChildFailed, match="ended with 3"), Child([sys.executable, "-c", "exit(3)"], timeout_s=20):
        pass


def test_a_child_that_hangs_is_ended() -> None:
    child = Child([sys.executable, "-c", "import sys; sys.stdin.read()"], timeout_s=0.2)
    with pytest.raises(ChildFailed, match="said nothing"), child:
        pass
    assert child._process.returncode is not None
