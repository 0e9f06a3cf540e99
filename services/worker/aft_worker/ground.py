"""Ground: the rows and the weights that a run is trained on, and whether a checkpoint rests on the same."""

import hashlib
import reprlib
from http import HTTPStatus
from typing import Any

from aft_worker.checkpoint.store import Restored
from aft_worker.errors import WorkerError
from aft_worker.model.errors import BaseWeightsChanged, ModelConfigChanged
from aft_worker.trainer import Trainer


class TrainingDataChanged(WorkerError):
    """The training data is not what the checkpoint was trained on."""

    status = HTTPStatus.CONFLICT


class Ground:
    """What was loaded for a run and is not trained."""

    def __init__(self, trainer: Trainer) -> None:
        tables = trainer.batches.tables
        told = "".join(f"{name} {tables[name].digest}\n" for name in sorted(tables))
        self.data_digest = hashlib.sha256(told.encode()).hexdigest()
        self._config = trainer.model.config
        self._weights, self._model_path = trainer.model.frozen_digest, trainer.spec.model.path

    @property
    def frozen_digest(self) -> str | None:
        """Of the weights that are not trained, once it is there; None where there are none."""
        return self._weights.result()

    @property
    def architecture(self) -> dict[str, Any]:
        """What the model's config makes of those weights."""
        return self._config.facts

    def refuse_other(self, restored: Restored) -> None:
        """Return if the checkpoint was trained on this ground; what was not kept when it was saved may be the same.

        Raises:
            TrainingDataChanged, ModelConfigChanged, BaseWeightsChanged: it was not.
        """
        record = restored.record
        if record.data_digest != self.data_digest:
            raise TrainingDataChanged(
                f"The checkpoint at step {restored.step} was trained on other rows than are loaded now; "
                "restore the data files or start a new run.",
                step=restored.step,
            )
        trained, now = record.architecture or {}, self.architecture
        if changed := self._config.changed_since(trained):
            facts = ", ".join(
                f"{name} {reprlib.repr(trained[name])}, now {reprlib.repr(now[name])}" for name in changed
            )
            raise ModelConfigChanged(
                f"The checkpoint at step {restored.step} was trained with another config.json than is at "
                f"{self._model_path!r} ({facts}); restore the model's files or start a new run.",
                step=restored.step,
                path=self._model_path,
            )
        loaded = self.frozen_digest
        if record.frozen_digest is not None and record.frozen_digest != loaded:
            raise BaseWeightsChanged(
                f"The checkpoint at step {restored.step} was trained on other weights ({_short(record.frozen_digest)}) "
                f"than were loaded from {self._model_path!r} ({_short(loaded)}); restore the model's files or start a "
                "new run.",
                step=restored.step,
                path=self._model_path,
            )


def _short(digest: str | None) -> str:
    return digest[:12] if digest is not None else "none"
