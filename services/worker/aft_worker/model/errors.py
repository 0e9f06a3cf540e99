"""What can be wrong with a model directory or with what is asked of it."""

from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path

from aft_worker.errors import WorkerError


class ModelFileMissing(WorkerError):
    """A file of the model is missing."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, path: Path, needed_for: str) -> None:
        self.path = path
        super().__init__(
            f"{path} does not exist; {needed_for}. Give a Hugging Face model directory on the worker's disk.",
            path=str(path),
        )


class UnknownModelFamily(WorkerError):
    """The model's architecture is not one this decoder knows."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, model_type: str, supported: Iterable[str]) -> None:
        self.model_type, self.supported = model_type, tuple(supported)
        super().__init__(
            f"config.json has model_type {model_type!r}; supported are {', '.join(self.supported)}.",
            model_type=model_type,
            supported=list(self.supported),
        )


class InvalidModelConfig(WorkerError):
    """A value in config.json is missing, impossible, or asks for something this decoder does not do."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, key: str, given: object, expected: str) -> None:
        self.key, self.given = key, given
        super().__init__(f"config.json has {key} = {given!r}; expected {expected}.", key=key)


class TextTooLong(WorkerError):
    """A text is longer than the model has positions for."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, length: int, longest: int) -> None:
        self.length, self.longest = length, longest
        super().__init__(
            f"Texts are cut to {length} tokens, but the model has {longest} learned positions (n_positions in "
            f"config.json); set data.max_length to at most {longest}.",
            length=length,
            longest=longest,
        )


class WeightMismatch(WorkerError):
    """The weights do not fit the config."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, name: str, given: object, expected: object) -> None:
        self.name = name
        super().__init__(
            f"Weight {name} is {given}; config.json calls for {expected}. Are both from the same model?", name=name
        )


class TiedHeadDiffers(WorkerError):
    """The head is not the embedding over again, though config.json ties them."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, head: str, embedding: str, model_dir: Path) -> None:
        self.head, self.embedding, self.model_dir = head, embedding, model_dir
        super().__init__(
            f"{head} in {model_dir} is not the same as {embedding}, which config.json makes the head "
            f"(tie_word_embeddings); set tie_word_embeddings to false in config.json to train with {head}, "
            f"or remove {head} from the files to train without it.",
            name=head,
            path=str(model_dir),
        )


class BaseWeightsChanged(WorkerError):
    """The model's weights are not those that were trained on."""

    status = HTTPStatus.CONFLICT


class ModelConfigChanged(WorkerError):
    """The model's config is not the one that was trained with."""

    status = HTTPStatus.CONFLICT


class UnknownLoraTarget(WorkerError):
    """An adapter was asked for on a layer that the model does not have."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, given: Iterable[str], available: Iterable[str]) -> None:
        self.given, self.available = tuple(given), tuple(available)
        super().__init__(
            f"LoRA targets {', '.join(self.given)} are no dense layers of this model; "
            f"it has {', '.join(self.available)}, or say all-linear.",
            given=list(self.given),
            available=list(self.available),
        )


class FsdpDoesNotDivide(WorkerError):
    """The devices cannot be split into groups that share the parameters."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, fsdp: int, devices: int) -> None:
        super().__init__(
            f"AFT_WORKER_FSDP is {fsdp}, which does not divide the worker's {devices} device(s); "
            f"set it to one of {', '.join(str(n) for n in range(1, devices + 1) if devices % n == 0)}.",
            fsdp=fsdp,
            devices=devices,
        )
