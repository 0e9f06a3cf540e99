"""A review's evidence as figures with names, for messages and pages: ids and numbers, never a sample's text."""

from aft_contracts import Review

MOST_IDS = 5


def figures_of(review: Review) -> list[tuple[str, str]]:
    """(name, value) of what people look at first."""
    found = review.evidence
    figures: list[tuple[str, str]] = []
    if found is not None:
        figures += [("verdict", str(found.verdict)), ("step", str(found.step))]
        if found.anomalies:
            first = found.anomalies[0]
            figures.append(
                ("first finding", f"{first.kind} at step {first.step}: {first.value:.4g}, limit {first.threshold:.4g}")
            )
        figures.append(("findings", str(found.anomaly_count)))
        if found.culprits:
            more = f" and {len(found.culprits) - MOST_IDS} more" if len(found.culprits) > MOST_IDS else ""
            figures.append(("culprits", ", ".join(found.culprits[:MOST_IDS]) + more))
        figures += [
            (f"replay {one.name}", f"loss {one.loss:.4g}, gradient norm {one.grad_norm:.4g}, {one.masked} masked")
            for one in found.replays
        ]
    if review.deadline_at is not None:
        figures.append(("deadline", f"{review.deadline_at:%Y-%m-%d %H:%M} UTC, then {review.on_deadline}"))
    return figures
