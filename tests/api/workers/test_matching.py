"""Which waiting run goes to which worker."""

from aft_api.workers.matching import Room, Waiting, match


def room(name: str, *, free: int = 1, root_id: str = "shared") -> Room:
    return Room(worker_id=name, base_url=f"http://{name}", root_id=root_id, free=free)


def run(name: str, *, root_id: str | None = None, last: str | None = None) -> Waiting:
    return Waiting(run_id=name, root_id=root_id, last_url=None if last is None else f"http://{last}")


def test_slots_go_in_order_and_no_further_than_there_are() -> None:
    assert match([run("r1"), run("r2"), run("r3")], [room("a", free=2)]) == {"r1": "a", "r2": "a"}


def test_new_run_goes_where_most_room_is() -> None:
    assert match([run("r1"), run("r2")], [room("a", free=1), room("b", free=3)]) == {"r1": "b", "r2": "b"}


def test_run_goes_back_to_where_it_was_last() -> None:
    assert match([run("r1", last="a")], [room("a"), room("b", free=9)]) == {"r1": "a"}


def test_run_goes_only_where_its_files_are_and_holds_nobody_up() -> None:
    rooms = [room("a", root_id="one"), room("b", root_id="two")]
    waiting = [run("r1", root_id="three"), run("r2", root_id="two", last="a"), run("r3")]
    assert match(waiting, rooms) == {"r2": "b", "r3": "a"}
