"""What can be wrong with an answer."""

from http import HTTPStatus

from aft_api.errors import AftError


class ReviewNotFound(AftError):
    """There is no such review."""

    status = HTTPStatus.NOT_FOUND

    def __init__(self, review_id: str) -> None:
        super().__init__(f"There is no review {review_id!r}. `aft review list` shows the open ones.", id=review_id)


class ReviewAlreadyDecided(AftError):
    """A human has already decided this review."""

    status = HTTPStatus.CONFLICT

    def __init__(self, review_id: str, decided_by: str, answer: str) -> None:
        super().__init__(
            f"Review {review_id} was already decided by {decided_by}: {answer}.",
            review_id=review_id,
            decided_by=decided_by,
            answer=answer,
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
