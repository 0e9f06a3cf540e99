"""The CLI's one error: a problem in words, with a stable code."""

from aft_contracts import Problem

API_UNREACHABLE = "api_unreachable"
PASSING = frozenset({429, 502, 503, 504})
"""Statuses of answers that another try may better; no answer at all counts as 503."""


class ApiError(Exception):
    """What was asked for could not be done; `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(f"{problem.title}: {problem.detail}" if problem.detail else problem.title)

    @property
    def is_passing(self) -> bool:
        """Whether the API, or what stands before or behind it, is away or busy just now: asking again may help."""
        return self.problem.status in PASSING


def api_unreachable(base_url: str, reason: Exception) -> ApiError:
    """Nothing answers at `base_url`."""
    return ApiError(
        Problem(
            title="The API cannot be reached",
            status=503,
            code=API_UNREACHABLE,
            detail=f"No answer from {base_url} ({reason or type(reason).__name__}). Start it with `aft up` or "
            "`aft serve`, or name the right one with --api URL or AFT_API_URL.",
            facts={"url": base_url},
        )
    )


def unexpected_answer(url: str, status: int, body: str) -> ApiError:
    """Something answered at `url`, but not in aft's language."""
    return ApiError(
        Problem(
            title="The answer makes no sense",
            status=status if 400 <= status <= 599 else 502,
            code="unexpected_answer",
            detail=f"{url} answered {status} with {body[:120]!r}. Check that --api names an aft API of this version.",
            facts={"url": url},
        )
    )


def local_problem(code: str, title: str, detail: str) -> ApiError:
    """Something on this machine stands in the way."""
    return ApiError(Problem(title=title, status=500, code=code, detail=detail))
