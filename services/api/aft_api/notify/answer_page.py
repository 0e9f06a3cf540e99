"""The page behind an approve link: complete in itself, without a script, and never kept or framed."""

import secrets
from collections.abc import Sequence
from http import HTTPStatus

from fastapi import Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from aft_api.errors import AftError
from aft_api.notify.figures import figures_of
from aft_contracts import Option, Review

_PAGES = Environment(loader=PackageLoader("aft_api.notify", "pages"), autoescape=True, undefined=StrictUndefined)


def question_page(review: Review, *, take: str) -> Response:
    """The question with its evidence, and a form that answers it; looking at it decides nothing."""
    offered = {option.name for option in review.options}
    by_answer = {"approve": review.recommended or "", "reject": "go_on"}
    taken = take if take in offered else by_answer.get(take, "")
    return _page(
        "A run waits for your answer",
        [review.question, "Nothing is decided until you press the button."],
        facts=[("run", review.run_id), *figures_of(review)],
        choices=review.options,
        taken=taken,
        recommended=review.recommended or "",
    )


def outcome_page(title: str, lines: Sequence[str], status: HTTPStatus = HTTPStatus.OK) -> Response:
    """What became of an answer, in words."""
    return _page(title, lines, status=status)


def refusal_page(refusal: AftError) -> Response:
    """Why an answer was not taken."""
    return _page(refusal.problem.title, [str(refusal)], status=refusal.status)


def _page(
    title: str,
    lines: Sequence[str],
    *,
    facts: Sequence[tuple[str, str]] = (),
    choices: Sequence[Option] = (),
    taken: str = "",
    recommended: str = "",
    status: HTTPStatus = HTTPStatus.OK,
) -> Response:
    nonce = secrets.token_urlsafe(16)
    body = _PAGES.get_template("answer.html").render(
        title=title, lines=lines, facts=facts, choices=choices, taken=taken, recommended=recommended, nonce=nonce
    )
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
    return Response(body, status_code=status, media_type="text/html", headers=headers)
