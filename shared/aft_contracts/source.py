"""Sources: where rows come from, in which format, and under which names."""

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from .contract import Contract


class DataFormat(StrEnum):
    """How rows are stored."""

    JSONL = "jsonl"
    JSON = "json"
    PARQUET = "parquet"
    CSV = "csv"
    TEXT = "text"
    DATASET = "dataset"


class SampleBy(StrEnum):
    """What one row of a plain text file is."""

    LINE = "line"
    PARAGRAPH = "paragraph"
    DOCUMENT = "document"


class ColumnMap(Contract):
    """Names of the columns that hold a row's parts; null looks for the usual ones."""

    messages: str | None = Field(default=None, min_length=1)
    """Column of a conversation: a list of `role` and `content`, or of ShareGPT's `from` and `value`."""
    prompt: str | None = Field(default=None, min_length=1)
    """Column of a prompt: text, or a list of messages."""
    completion: str | None = Field(default=None, min_length=1)
    """Column of its answer: text, or a list of messages."""
    text: str | None = Field(default=None, min_length=1)
    """Column of plain text."""
    id: str | None = Field(default=None, min_length=1)
    """Column of the row's own id; null means `id`."""
    weight: str | None = Field(default=None, min_length=1)
    """Column of the factor on the row's loss; null means `weight`."""

    @model_validator(mode="after")
    def _one_shape(self) -> Self:
        shapes = [self.messages, self.prompt or self.completion, self.text]
        if sum(shape is not None for shape in shapes) > 1:
            raise ValueError("a row has one shape: map messages, or prompt and completion, or text")
        return self


class SourceSpec(Contract):
    """A source of rows: a file, a data-set directory, or a data set of the Hugging Face hub."""

    path: str = Field(min_length=1)
    """File or directory of rows; with `format: dataset` also the id of a data set on the Hugging Face hub."""
    format: DataFormat | None = None
    """How the rows are stored; null goes by the ending of the path, and a directory is a data set."""
    split: str | None = Field(default=None, min_length=1)
    """Split of a data set; null takes `train`, or the only one."""
    name: str | None = Field(default=None, min_length=1)
    """Configuration of a data set, where it has several."""
    revision: str | None = Field(default=None, min_length=1)
    """Branch, tag or commit of a data set on the hub; null takes the newest."""
    columns: ColumnMap = ColumnMap()
    """Names of the columns, where they are not the usual ones."""
    sample_by: SampleBy = SampleBy.LINE
    """What one row of a plain text file is: a line, a paragraph (up to an empty line), or the whole file."""
