"""The picture of a review: the last losses, as a small SVG that needs nothing else."""

import math
from xml.etree.ElementTree import Element, SubElement, tostring

from aft_contracts import Evidence, LossPoint

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 480, 150, 56, 14, 26
FINE, BAD = "#2f6f9f", "#c0392b"


def picture_of(evidence: Evidence) -> str:
    """The losses as a line; steps that were called out are marked, withheld ones hollow, others a cross on top."""
    svg = Element(
        "svg",
        {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {WIDTH} {HEIGHT}", "role": "img", "width": str(WIDTH)},
    )
    points = evidence.losses
    title = SubElement(svg, "title")
    if not points:
        title.text = "No step has been trained."
        return tostring(svg, encoding="unicode")
    title.text = f"Loss of steps {points[0].step} to {points[-1].step}, in nats per token"
    SubElement(svg, "rect", {"width": str(WIDTH), "height": str(HEIGHT), "fill": "#ffffff"})
    finite = [point.loss for point in points if math.isfinite(point.loss)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    placed = [(point, *_place(point, index, len(points), low, high)) for index, point in enumerate(points)]
    line = " ".join(f"{x:.1f},{y:.1f}" for point, x, y in placed if math.isfinite(point.loss))
    SubElement(svg, "polyline", {"points": line, "fill": "none", "stroke": FINE, "stroke-width": "1.5"})
    called_out = {anomaly.step for anomaly in evidence.anomalies}
    for point, x, y in placed:
        if point.step in called_out or not point.applied or not math.isfinite(point.loss):
            _mark(svg, point, x, y)
    _write(svg, LEFT - 6, TOP + 4, f"{high:.4g}", "end")
    _write(svg, LEFT - 6, HEIGHT - BOTTOM + 4, f"{low:.4g}", "end")
    _write(svg, LEFT, HEIGHT - 8, f"step {points[0].step}", "start")
    _write(svg, WIDTH - 8, HEIGHT - 8, f"step {points[-1].step}", "end")
    return tostring(svg, encoding="unicode")


def _place(point: LossPoint, index: int, count: int, low: float, high: float) -> tuple[float, float]:
    x = LEFT + (WIDTH - LEFT - 8) * (index / (count - 1) if count > 1 else 0.5)
    if not math.isfinite(point.loss):
        return x, float(TOP)
    # By halves: the whole span of two large losses may be more than a float holds.
    share = (point.loss / 2 - low / 2) / (high / 2 - low / 2) if high > low else 0.5
    return x, HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)


def _mark(svg: Element, point: LossPoint, x: float, y: float) -> None:
    said = f"step {point.step}: {point.loss:.4g}, {'applied' if point.applied else 'withheld'}"
    if math.isfinite(point.loss):
        fill = BAD if point.applied else "#ffffff"
        attributes = {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": "3.5", "fill": fill, "stroke": BAD}
        SubElement(SubElement(svg, "circle", attributes), "title").text = said
        return
    strokes = f"M{x - 4:.1f},{y - 4:.1f} l8,8 m0,-8 l-8,8"
    SubElement(SubElement(svg, "path", {"d": strokes, "stroke": BAD, "stroke-width": "2"}), "title").text = said


def _write(svg: Element, x: float, y: float, words: str, anchor: str) -> None:
    style = {"font-family": "sans-serif", "font-size": "11", "fill": "#444444", "text-anchor": anchor}
    SubElement(svg, "text", {"x": str(x), "y": str(y), **style}).text = words
