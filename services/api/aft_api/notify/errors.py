"""What can be wrong with a request about notifications."""

from http import HTTPStatus

from aft_api.errors import AftError


class NotificationNotFound(AftError):
    """There is no such notification."""

    status = HTTPStatus.NOT_FOUND

    def __init__(self, seq: int) -> None:
        super().__init__(f"There is no notification {seq}. `aft notifications list` shows them.", seq=seq)


class NotificationPending(AftError):
    """The notification is on its way already."""

    status = HTTPStatus.CONFLICT

    def __init__(self, seq: int) -> None:
        super().__init__(f"Notification {seq} waits for its next attempt; there is nothing to replay.", seq=seq)


class TargetNotFound(AftError):
    """No such target has been disabled or paused."""

    status = HTTPStatus.NOT_FOUND

    def __init__(self, target_id: str) -> None:
        super().__init__(
            f"No target {target_id!r} is disabled or paused. `aft notifications targets` shows those that are.",
            target_id=target_id,
        )


class TargetDisabled(AftError):
    """The notification's target is disabled."""

    status = HTTPStatus.CONFLICT

    def __init__(self, seq: int, reason: str) -> None:
        super().__init__(f"Notification {seq} cannot be replayed: {reason} first.", seq=seq)


class NoSuchOption(AftError):
    """The question has no such answer."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, review_id: str, choice: str, options: list[str]) -> None:
        super().__init__(
            f"Review {review_id} cannot be answered {choice!r}; its options are {', '.join(options) or 'none'}, "
            "and approve and reject.",
            review_id=review_id,
            options=options,
        )


class FormUnreadable(AftError):
    """The form cannot be read."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class SlackBusy(AftError):
    """Too much is clicked at once, or the process is about to end."""

    status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self) -> None:
        super().__init__("The click was not taken. Click again in a moment.")


class SlackClickOpen(AftError):
    """The click is not acted upon yet, or not as far as is known."""

    status = HTTPStatus.SERVICE_UNAVAILABLE


class SlackClickerNotTold(AftError):
    """What became of the click could not be told to whoever clicked."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
