"""The picture of a review is an SVG that stands for itself."""

import math
from xml.etree.ElementTree import fromstring

import pytest

from aft_api.reviews.picture import HEIGHT, WIDTH, picture_of
from aft_contracts import Evidence, LossPoint
from tests.api.reviews.examples import question

SVG = "{http://www.w3.org/2000/svg}"


def evidence(*losses: float, withheld: tuple[int, ...] = ()) -> Evidence:
    """Evidence with these losses, from step 0 on."""
    shown = question().evidence
    assert shown is not None
    points = tuple(LossPoint(step=step, loss=loss, applied=step not in withheld) for step, loss in enumerate(losses))
    return shown.model_copy(update={"losses": points})


def test_steps_that_were_called_out_or_withheld_are_marked() -> None:
    losses = [2.0] * 13 + [9.0, 2.0, 8.0]
    svg = fromstring(picture_of(evidence(*losses, withheld=(15,))))
    marks = [(mark.findtext(f"{SVG}title"), mark.get("fill")) for mark in svg.iter(f"{SVG}circle")]
    assert marks == [("step 13: 9, applied", "#c0392b"), ("step 15: 8, withheld", "#ffffff")]
    [line] = svg.iter(f"{SVG}polyline")
    assert len(str(line.get("points")).split()) == 16
    assert [text.text for text in svg.iter(f"{SVG}text")] == ["9", "2", "step 0", "step 15"]


@pytest.mark.parametrize(
    "losses", [(), (2.0,), (2.0, 2.0), (math.nan,), (math.nan, math.inf), (2.0, math.nan, 3.0), (1e308, -1e308, 0.0)]
)
def test_any_losses_give_a_picture_inside_its_frame(losses: tuple[float, ...]) -> None:
    svg = fromstring(picture_of(evidence(*losses)))
    assert svg.findtext(f"{SVG}title")
    spots = [spot.split(",") for line in svg.iter(f"{SVG}polyline") for spot in str(line.get("points")).split()]
    assert len(spots) == sum(map(math.isfinite, losses))
    assert all(0 <= float(x) <= WIDTH and 0 <= float(y) <= HEIGHT for x, y in spots)
    assert len(list(svg.iter(f"{SVG}path"))) == sum(not math.isfinite(loss) for loss in losses)
