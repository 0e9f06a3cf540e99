"""A process that ended by itself."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class OwnExit:
    """A process that ended without having been killed."""

    module: str
    code: int | None
    words: str
    """The last it printed."""

    def __str__(self) -> str:
        return f"{self.module} ended with {self.code}: {self.words}"
