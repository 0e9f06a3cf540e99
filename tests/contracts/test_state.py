"""The loop's state is small plain JSON."""

from typing import Any, get_type_hints

from aft_contracts import State

PLAIN = {str, int, bool}
JSON_OBJECT = dict[str, Any]


def test_state_holds_no_tensor_and_no_float() -> None:
    # A float may be NaN, which JSON cannot say; an array may be gigabytes. Neither may be in a checkpoint of the graph.
    hints = get_type_hints(State)
    wrong = {name: hint for name, hint in hints.items() if hint not in PLAIN and hint != JSON_OBJECT}
    assert wrong == {}


def test_state_holds_no_history() -> None:
    objects = {name for name, hint in get_type_hints(State).items() if hint == JSON_OBJECT}
    assert objects == {"verdict", "repair", "decision"}, "the last verdict, repair and decision; lists live in tables"


def test_every_key_may_be_absent() -> None:
    assert State.__required_keys__ == frozenset()
