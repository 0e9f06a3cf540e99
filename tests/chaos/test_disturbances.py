"""A schedule follows from its seed, and holds what was asked for."""

import pytest

from tests.chaos.disturbances import METHODS, Disturbance, Kind, Store, kills_in, schedule, unmet


@pytest.mark.parametrize("store", Store)
def test_a_seed_gives_the_same_schedule_and_another_seed_another(store: Store) -> None:
    first, again, other = (schedule(seed, kills=50, others=30, store=store, lease_s=2) for seed in (3, 3, 4))
    assert first == again
    assert [str(one) for one in first] != [str(one) for one in other]


@pytest.mark.parametrize("seed", range(20))
def test_a_long_schedule_kills_everybody_often_and_freezes_beyond_the_lease(seed: int) -> None:
    made = schedule(seed, kills=50, others=30, store=Store.POSTGRES, lease_s=2)
    kinds = [one.kind for one in made]
    assert 50 <= kills_in(made) <= 51
    assert set(kinds) == set(Kind)
    assert all(one.lasts_s > 2 for one in made if one.kind in {Kind.FREEZE_API, Kind.FREEZE_WORKER})
    assert {one.replica for one in made} == {0, 1}
    for alike in ({Kind.DROP_REQUEST, Kind.DROP_RESPONSE}, {Kind.DUPLICATE, Kind.LATE_DUPLICATE}):
        assert {one.method for one in made if one.kind in alike} == set(METHODS)


def test_sqlite_has_no_server_and_no_replica() -> None:
    made = schedule(1, kills=50, others=30, store=Store.SQLITE, lease_s=2)
    assert Kind.KILL_POSTGRES not in {one.kind for one in made}
    assert {one.replica for one in made} == {0}


def test_what_met_nothing_is_said() -> None:
    dropped = Disturbance(kind=Kind.DROP_REQUEST, method="PUT", times=2)
    told = (dropped, dropped, Disturbance(kind=Kind.FULL_DISK))
    met = {(Kind.DROP_REQUEST, "PUT"): 4, (Kind.FULL_DISK, ""): 1}
    assert unmet(told, met) == []
    assert unmet(told, {**met, (Kind.DROP_REQUEST, "PUT"): 3}) == ["drop_request PUT met 3 of 4"]
    assert unmet(told, {}) == ["drop_request PUT met 0 of 4", "full_disk met 0 of 1"]
