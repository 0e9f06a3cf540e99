"""What is known of each training sample, and how suspicious it is."""

from enum import StrEnum

from pydantic import Field

from .contract import Contract, Measured


class SampleOrder(StrEnum):
    """What samples are ranked by; those first that a person would look at first."""

    SUSPICION = "suspicion"
    LOSS = "loss"
    CONFIDENCE = "confidence"
    VARIABILITY = "variability"
    FORGETTING = "forgetting"
    GRAD_NORM = "grad_norm"
    SEEN = "seen"


class ReportFormat(StrEnum):
    """What a report of samples is written as."""

    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"
    PNG = "png"

    @property
    def media_type(self) -> str:
        """How HTTP names it."""
        return _MEDIA_TYPES[self]


_MEDIA_TYPES = {
    ReportFormat.JSON: "application/json",
    ReportFormat.CSV: "text/csv; charset=utf-8",
    ReportFormat.PARQUET: "application/vnd.apache.parquet",
    ReportFormat.PNG: "image/png",
}


class SampleReport(Contract):
    """One sample over all its presentations on the run's lineage."""

    sample_id: str
    """The row's stable id."""
    domain: str
    """The domain it was drawn from."""
    suspicion: float
    """Evidence that it is noise, in robust standard deviations: above 0 speaks for it, below 0 against."""
    suspicion_loss: float
    """The loss's part: how far its losses stand above those of like samples at the time."""
    suspicion_grad_norm: float
    """The gradient norm's part: the same of its log norms."""
    times_seen: int = Field(ge=1)
    """Presentations that carried loss."""
    epochs: int = Field(ge=1)
    """Passes over its domain in which it was presented."""
    last_step: int = Field(ge=0)
    """Optimizer step of its last presentation."""
    tokens: int = Field(ge=1)
    """Tokens of it that carry loss."""
    mean_loss: Measured
    """Mean of its finite losses, in nats per token; NaN where none was finite."""
    last_loss: Measured
    """Its loss when it was presented last, in nats per token."""
    non_finite: int = Field(ge=0)
    """Presentations whose loss was NaN or infinite."""
    withheld: int = Field(ge=0)
    """Presentations in steps whose update did not reach the weights."""
    confidence: float = Field(ge=0, le=1)
    """Mean over presentations of its geometric mean token probability, exp(-loss)."""
    variability: float = Field(ge=0)
    """Standard deviation of that probability over presentations."""
    correctness: float | None = Field(default=None, ge=0, le=1)
    """Mean share of its tokens that were the model's first choice; None where nobody measured it."""
    forgetting_events: int = Field(ge=0)
    """Presentations at which it went worse than at the one before."""
    mean_grad_norm: Measured
    """Mean L2 norm of its gradient over finite presentations; NaN where none was finite."""
    max_grad_norm: Measured
    """Largest finite L2 norm of its gradient; NaN where none was finite."""
    content_hash: str | None = None
    """Hash of its content; None where the run has no table of its rows."""
    lines: tuple[int, ...] = ()
    """Lines of the domain's file that hold it, counted from 1, the first few; empty where they are not known."""
    duplicates: tuple[str, ...] = ()
    """Other ids with the same content hash, the first few."""
    duplicate_rows: int = Field(default=0, ge=0)
    """Other rows of the training data with the same content hash."""
    blacklisted: bool
    """Whether the newest committed window's schedule bans it."""


class SamplesReport(Contract):
    """What a run's ledger says of its samples, as of the newest committed window."""

    run_id: str
    """The run."""
    generation: int = Field(ge=0)
    """Generation of the newest committed window."""
    step: int = Field(ge=0)
    """Optimizer steps on its lineage."""
    steps_recorded: int = Field(ge=0)
    """How many of those steps the ledger holds; fewer only where its files are missing."""
    presentations: int = Field(ge=0)
    """Presentations that carried loss, over all samples."""
    seen: int = Field(ge=0)
    """Samples that were presented at least once."""
    rows: int | None = Field(default=None, ge=0)
    """Rows of the training data; None where the run has no table of its rows."""
    matching: int = Field(ge=0)
    """Samples that were asked for, before the limit."""
    samples: tuple[SampleReport, ...]
    """The first of them, in the order asked for."""
