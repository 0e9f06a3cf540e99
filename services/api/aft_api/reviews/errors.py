"""What can be wrong with an answer."""

from http import HTTPStatus

from aft_api.errors import AftError
from aft_contracts import Review


class ReviewNotFound(AftError):
    """There is no such review."""

    status = HTTPStatus.NOT_FOUND

    def __init__(self, review_id: str) -> None:
        super().__init__(f"There is no review {review_id!r}. `aft review list` shows the open ones.", id=review_id)


class ReviewAlreadyDecided(AftError):
    """A human has already decided this review."""

    status = HTTPStatus.CONFLICT

    def __init__(self, review: Review) -> None:
        answer = "unknown" if review.decision is None else review.decision.option or review.decision.answer
        at = review.decided_at
        super().__init__(
            f"Review {review.review_id} was already decided by {review.decided_by or 'unknown'}"
            + (f" through {review.decided_via}" if review.decided_via else "")
            + (f" at {at:%Y-%m-%d %H:%M:%S} UTC" if at else "")
            + f": {answer}.",
            review_id=review.review_id,
            decided_by=review.decided_by,
            decided_via=review.decided_via,
            decided_at=None if at is None else at.isoformat(),
            answer=None if review.decision is None else review.decision.answer,
            option=None if review.decision is None else review.decision.option,
        )


class NoPicture(AftError):
    """This review has no picture."""

    status = HTTPStatus.NOT_FOUND

    def __init__(self, review_id: str) -> None:
        super().__init__(
            f"Review {review_id} has no losses to show: it is not about the course of training, or was asked before "
            "evidence was kept with questions.",
            review_id=review_id,
        )


class NoOpenReview(AftError):
    """The run asks nothing."""

    status = HTTPStatus.CONFLICT

    def __init__(self, run_id: str) -> None:
        super().__init__(
            f"Run {run_id} has no open review to answer; `aft review list --all --run {run_id}` shows what it asked.",
            run_id=run_id,
        )


class MayNotAnswer(AftError):
    """Somebody else is to answer this review."""

    status = HTTPStatus.FORBIDDEN

    def __init__(self, review: Review, user: str) -> None:
        super().__init__(
            f"{user} may not answer review {review.review_id}; it is for {', '.join(review.answered_by)} "
            "(`reviews.answered_by` of the run's spec).",
            review_id=review.review_id,
            user=user,
            answered_by=list(review.answered_by),
        )


class RepairNeeded(AftError):
    """An edit says which repair to make instead."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self) -> None:
        super().__init__("The answer 'edit' needs the field `repair`; to agree with the proposal, answer 'approve'.")


class UnexpectedRepair(AftError):
    """Only an edit carries a repair."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, answer: str) -> None:
        super().__init__(f"The answer {answer!r} takes no `repair`; to change the proposal, answer 'edit'.")
