"""What can be wrong with what a step is given."""

from http import HTTPStatus

from aft_worker.errors import WorkerError


class BatchDoesNotDivide(WorkerError):
    """The batch cannot be split evenly over the devices."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, lines: int, devices: int, parts: int) -> None:
        self.lines, self.devices, self.parts = lines, devices, parts
        super().__init__(
            f"A batch of {lines} lines cannot be split evenly over {devices} devices and {parts} accumulation steps; "
            f"make optim.batch_size a multiple of {devices * parts}.",
            lines=lines,
            devices=devices,
            accumulation_steps=parts,
        )


def refuse_uneven(lines: int, *, devices: int, parts: int) -> None:
    """Raises BatchDoesNotDivide unless every device gets as many lines in each part of the batch."""
    if lines % (devices * parts):
        raise BatchDoesNotDivide(lines, devices, parts)
