"""Preview: some rows of each domain as the model will see them, for whoever asks; never logged or stored."""

from pydantic import Field

from .contract import Contract
from .run_spec import RunSpec


class PreviewRequest(Contract):
    """A request to show rows before they are trained on."""

    spec: RunSpec
    """The run whose data is to be shown; its model needs no weights."""
    rows: int = Field(default=3, ge=1, le=50)
    """Good rows of each domain that are shown."""
    look_at: int = Field(default=1000, ge=1, le=100_000)
    """Rows of each domain that are read at most, to find the bad ones among them."""


class PreviewToken(Contract):
    """One token of a row."""

    id: int
    """Its id in the tokenizer's vocabulary."""
    text: str
    """What it stands for in the rendered row; empty for the later parts of a character that takes several tokens."""
    carries_loss: bool
    """Whether the model is trained to predict it."""


class PreviewRow(Contract):
    """One row as the model will see it."""

    sample_id: str
    """Its own id, or the hash of its content."""
    place: str
    """File and line, or row, where it stands."""
    weight: float
    """Factor on its loss."""
    tokens: tuple[PreviewToken, ...]
    """Its tokens, cut to `max_length`."""
    loss_tokens: int
    """How many of them carry loss."""
    uncut_tokens: int
    """How many tokens it has before it is cut."""
    is_cut: bool
    """Whether it is longer than `max_length`."""


class SourcePreview(Contract):
    """Rows of one domain, and what is wrong with others."""

    rows: tuple[PreviewRow, ...]
    """Its first good rows."""
    rows_read: int
    """Rows that were looked at, good or bad."""
    is_whole: bool
    """Whether those are all that it has."""
    skipped: int
    """How many of them cannot be trained on."""
    bad_rows: tuple[str, ...]
    """The first of those: file, line and what is wrong, without their text."""


class DataPreview(Contract):
    """What a run's data looks like."""

    domains: dict[str, SourcePreview]
    """Training domains by name."""
    evaluation: dict[str, SourcePreview]
    """Held-out sources by domain name."""
