"""Approve links: good for one question, for a time, and only as they were made."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aft_api.notify.links import Link, LinkExpired, LinkInvalid, Links
from aft_contracts import Review, ReviewStatus

ASKED = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LINKS = Links("a secret of forty characters, more or less", "https://aft.example/", ttl=timedelta(hours=72))


def review(**changes: object) -> Review:
    facts = {"review_id": "r1", "run_id": "run1", "question": "?", "proposal": None}
    return Review.model_validate({**facts, "status": ReviewStatus.OPEN, "created_at": ASKED, **changes})


def token_of(url: str) -> str:
    return url.removeprefix("https://aft.example/answer/").partition("?")[0]


def test_it_leads_to_the_question_for_whom_it_was_sent_and_is_the_same_each_time() -> None:
    url = LINKS.url(review(), "t1", take="approve")
    assert url == LINKS.url(review(), "t1", take="approve")
    assert url.endswith("?take=approve")
    link = LINKS.read(token_of(url), ASKED)
    assert (link, link.user) == (Link(review_id="r1", sent_to="t1"), "link:t1")


@pytest.mark.parametrize(
    ("changes", "good_for"),
    [({}, timedelta(hours=72)), ({"deadline_at": ASKED + timedelta(hours=1)}, timedelta(hours=1))],
)
def test_it_is_good_until_its_time_or_the_deadline_is_over(changes: dict[str, object], good_for: timedelta) -> None:
    token = token_of(LINKS.url(review(**changes), "t1"))
    assert LINKS.read(token, ASKED + good_for).review_id == "r1"
    with pytest.raises(LinkExpired) as refusal:
        LINKS.read(token, ASKED + good_for + timedelta(seconds=1))
    assert refusal.value.status == 410


def test_link_of_another_secret_is_none_of_ours() -> None:
    other = Links("another secret of forty characters, or so", "https://aft.example/", ttl=timedelta(hours=72))
    with pytest.raises(LinkInvalid):
        LINKS.read(token_of(other.url(review(), "t1")), ASKED)


@given(st.integers(min_value=0, max_value=10_000), st.characters(codec="ascii"))
def test_changed_token_is_refused(place: int, character: str) -> None:
    token = token_of(LINKS.url(review(), "t1"))
    place %= len(token) - 1  # the last character of base64 holds bits that stand for nothing
    changed = token[:place] + character + token[place + 1 :]
    if changed == token:
        return
    with pytest.raises(LinkInvalid):
        LINKS.read(changed, ASKED)


@given(st.text())
def test_whatever_else_is_no_link(text: str) -> None:
    with pytest.raises(LinkInvalid):
        LINKS.read(text, ASKED)
