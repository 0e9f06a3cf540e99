"""What can be wrong with what a step is given."""

from http import HTTPStatus

from aft_worker.errors import WorkerError


class BatchDoesNotDivide(WorkerError):
    """The batch cannot be split evenly over the devices."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, rows: int, devices: int) -> None:
        self.rows, self.devices = rows, devices
        super().__init__(
            f"A batch of {rows} rows cannot be split over {devices} devices; "
            f"make optim.batch_size a multiple of {devices}.",
            rows=rows,
            devices=devices,
        )
