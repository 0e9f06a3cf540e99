"""RunSpec: everything a user may say about a run, with its default and its unit."""

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from .contract import Contract, Whole
from .notify import NotifySpec
from .review import OnDeadline
from .source import SourceSpec

DomainName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


class LoraSpec(Contract):
    """Low-rank adapters (Hu et al., 2021): y = x W + (alpha / rank) x A B, with only A and B trained."""

    rank: Whole = Field(default=8, ge=1, le=1024)
    """Inner dimension of each adapter."""
    alpha: float = Field(default=16.0, gt=0)
    """Scale numerator; the adapter's output is multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the adapter's inputs that each step sets to zero, the rest scaled up by 1 / (1 - dropout)."""
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Names of the dense layers that get an adapter (`q_proj`, `down_proj`, …), or all of them but the head."""


class ComputeType(StrEnum):
    """The floating-point type that layers compute in."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class Remat(StrEnum):
    """Which activations wait for the backward pass; the others are computed again there."""

    NONE = "none"
    SELECTIVE = "selective"
    FULL = "full"


class ModelSpec(Contract):
    """The base model and how it is trained."""

    path: str = Field(min_length=1)
    """Directory in Hugging Face format: config.json, safetensors, tokenizer.json."""
    lora: LoraSpec | None = LoraSpec()
    """Adapters to train; null trains every parameter."""
    compute: ComputeType = ComputeType.FLOAT32
    """Type of activations and frozen weights; trained weights, optimizer and losses stay in float32."""
    remat: Remat = Remat.SELECTIVE
    """Activation rematerialisation: none keeps all, selective keeps the outputs of the matrix products, full keeps each
    layer's input alone."""


class DomainSpec(SourceSpec):
    """One source of training rows, and its share of them."""

    weight: float = Field(default=1.0, ge=0)
    """Share of the rows drawn from this domain, relative to the other domains."""


def _source_of_path(given: Any) -> Any:
    return {"path": given} if isinstance(given, str) else given


HeldOut = Annotated[SourceSpec, BeforeValidator(_source_of_path, json_schema_input_type=str | SourceSpec)]
"""A source of held-out rows; a path alone is enough."""


class OnBadRow(StrEnum):
    """What a row that cannot be read does to the run."""

    FAIL = "fail"
    SKIP = "skip"


class DataSpec(Contract):
    """What is trained on and what is held out."""

    domains: dict[DomainName, DomainSpec] = Field(min_length=1)
    """Training domains by name."""
    evaluation: dict[DomainName, HeldOut] = {}
    """Held-out rows by domain name, each a path or a source; each is scored on its own."""
    max_length: Whole = Field(default=256, ge=8, le=131072)
    """Tokens a row; longer rows are cut."""
    on_bad_row: OnBadRow = OnBadRow.FAIL
    """Whether an unreadable row fails the run or is left out and counted."""
    packing: bool = False
    """Whether short rows share a line of `max_length` tokens; attention, positions and figures never cross them."""
    max_packed_rows: Whole = Field(default=8, ge=1, le=256)
    """Most rows that share a line when packing."""

    @model_validator(mode="after")
    def _some_weight(self) -> Self:
        if not any(domain.weight > 0 for domain in self.domains.values()):
            raise ValueError("at least one domain needs a weight above 0")
        return self


class RateCurve(StrEnum):
    """The shape of the learning rate after warm-up."""

    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"


class OptimSpec(Contract):
    """AdamW (Loshchilov & Hutter, 2019) and the length of the run."""

    steps: Whole = Field(default=100, ge=1)
    """Optimizer steps of the whole run."""
    batch_size: Whole = Field(default=4, ge=1)
    """Rows a step; lines of packed rows when packing."""
    accumulation_steps: Whole = Field(default=1, ge=1)
    """Parts that a batch is computed in, one after the other, before its one update; must divide the batch."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """Peak learning rate."""
    curve: RateCurve = RateCurve.COSINE
    """Shape of the rate after warm-up; linear and cosine end at a tenth of the peak."""
    warmup_steps: Whole = Field(default=10, ge=0)
    """Steps over which the rate climbs linearly to its peak."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay, per unit of learning rate."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the first moment."""
    beta2: float = Field(default=0.999, ge=0, lt=1)
    """Decay of the second moment."""
    epsilon: float = Field(default=1e-8, gt=0)
    """Added to the root of the second moment."""
    clip_norm: float = Field(default=1.0, gt=0)
    """Largest global gradient norm that is let through unscaled."""


class WindowPolicy(Contract):
    """How the run is cut into windows."""

    steps: Whole = Field(default=10, ge=1)
    """Optimizer steps a window; each window ends in a committed checkpoint."""


class DetectionSpec(Contract):
    """When a step is called anomalous. All z are robust: the distance to the median of n clean values in units of their
    spread, max(1.4826 * MAD, (ninth decile - median) / 1.2816) * (1 + 5 / n), for rows the upper semi-deviation
    * (1 + 5 / n), which is never below a floor."""

    min_steps: Whole = Field(default=16, ge=4)
    """Clean steps before the batch detectors arm."""
    history_steps: Whole = Field(default=64, ge=8)
    """Clean steps that the statistics look back on; more reach into the first descent, whose spread hides spikes."""
    loss_z: float = Field(default=8.0, gt=0)
    """Batch loss this far above the clean median is an anomaly, and its update is withheld. Two valid rows in another
    language lifted a batch of eight to 7."""
    grad_norm_z: float = Field(default=7.0, gt=0)
    """Log of the batch gradient norm this far above the clean median is an anomaly, and its update is withheld."""
    outlier_z: float = Field(default=10.0, gt=0)
    """A sample's loss this far above the clean median of its domain is an anomaly by itself. Valid rows in another
    language or in Base64 stand nearly as far out among chats, rows of random words 9 to 15."""
    witnessed_z: float = Field(default=8.5, gt=0)
    """The same where another sample of its window is an anomaly, for bad rows seldom come alone, …"""
    witness_z: float = Field(default=9.0, gt=0)
    """… or where the log of its gradient norm stands this far out."""
    sample_z: float = Field(default=6.0, gt=0)
    """A sample's loss or gradient norm this far above the clean median of its domain makes it a suspect, where its step
    is an anomaly."""
    repetition_share: float = Field(default=0.95, gt=0, le=1)
    """A sample of which this share of 4-grams stood in it before, and whose gradient norm stands `sample_z` out, is an
    anomaly: one sign or one phrase over and over. Of 90,036 things that people said, one had 0.94 and the next 0.82."""
    opposed_z: float = Field(default=4.5, gt=0)
    """Losses of a batch's rows this far above the clean medians of their domains, together with gradient norms below
    them, are an anomaly; of 19,360 valid batches none stood further out than 3.1. Half of it must be the losses' part,
    …"""
    opposed_fall_z: float = Field(default=1.0, ge=0)
    """… and this much at least the gradients': a standard deviation of what so many rows say together."""
    opposed_row_z: float = Field(default=3.0, gt=0)
    """Largest part of a row in that, so that one row, however far out, says little about all of them."""
    opposed_min_rows: Whole = Field(default=4, ge=2)
    """Fewest rows that say something about their whole batch; one or two may be odd by themselves."""
    opposed_trim_z: float = Field(default=2.0, gt=0)
    """Clean steps this far out tell nothing about how far rows usually agree: damage that lasts would hide itself."""
    min_samples: Whole = Field(default=48, ge=8)
    """Clean samples of a domain before its sample detector arms."""
    sample_floor_nats: float = Field(default=0.1, gt=0)
    """Smallest spread of sample losses that is believed, in nats, …"""
    sample_floor_share: float = Field(default=0.05, ge=0)
    """… and as a share of their median: a row that is not memorised yet, among rows that are, is no fault."""
    sample_grad_norm_floor: float = Field(default=0.25, gt=0)
    """Smallest spread of the log of sample gradient norms that is believed."""
    nearest_share: float = Field(default=0.5, gt=0, le=1)
    """Share of its domain's clean samples, nearest in length, that a sample is compared with; with fewer, bad rows of
    one length would be their own norm."""
    nearest_samples: Whole = Field(default=256, ge=8)
    """Most samples that a sample is compared with."""
    loss_floor_nats: float = Field(default=0.05, gt=0)
    """Smallest spread of the batch loss that is believed, in nats, …"""
    loss_floor_share: float = Field(default=0.02, ge=0)
    """… and as a share of its median: a handful of losses may lie close together by chance."""
    grad_norm_floor: float = Field(default=0.3, gt=0)
    """Smallest spread of the log of the batch gradient norm that is believed: no norm below e^(7 * 0.3) = 8 times the
    usual one is a spike, for the clip takes it."""
    trim_z: float = Field(default=6.0, gt=0)
    """Clean values this many 1.4826 * MAD above their median are left out of every spread's upper part."""
    max_rejections: Whole = Field(default=8, ge=1)
    """Updates withheld in a row before the guard accepts the new level and learns it."""
    cusum_drift: float = Field(default=0.75, ge=0)
    """CUSUM allowance k: deviations below this many standard deviations do not add up."""
    cusum_threshold: float = Field(default=8.0, gt=0)
    """CUSUM alarm level h, in standard deviations."""
    cusum_lag: Whole = Field(default=48, ge=8)
    """Steps between the CUSUM's reference and the step it judges; a drift must not hide in its own reference."""
    cusum_steps: Whole = Field(default=32, ge=8)
    """Clean steps in the CUSUM's reference; more reach back into the first descent, whose level and spread hide a
    rise."""
    cusum_floor_nats: float = Field(default=0.005, gt=0)
    """Smallest spread of the CUSUM's reference that is believed, in nats, …"""
    cusum_floor_share: float = Field(default=0.01, ge=0)
    """… and as a share of its median; smaller than a spike's, for a drift is made of small steps."""
    cusum_step_share: float = Field(default=0.25, gt=0, le=1)
    """Largest share of the CUSUM's alarm level that one step can add: a spike is no drift."""
    stall_steps: Whole = Field(default=8, ge=2)
    """Steps in a row without any gradient, or with exactly the same loss on other rows, that are a stall."""
    eval_z: float = Field(default=6.0, gt=0)
    """A held-out loss that rises by this much more than its usual change between two evaluations is an anomaly …"""
    eval_margin_nats: float = Field(default=0.2, gt=0)
    """… if it also stands this far above its best."""
    eval_min_changes: Whole = Field(default=3, ge=2)
    """Changes from one evaluation to the next before the evaluation detector arms."""
    eval_floor_nats: float = Field(default=0.05, gt=0)
    """Smallest spread of a held-out loss's changes that is believed, in nats."""
    rate_jump_factor: float = Field(default=2.0, gt=1)
    """A learning rate this many times what spec and schedule plan, and what it was, has jumped."""
    stride_jump_factor: float = Field(default=4.0, gt=1)
    """Weights that move this many times as far as they did for the same planned rate, while the recorded rate keeps to
    its plan, were moved by a rate that nobody recorded. Where a gradient within `grad_norm_z` times
    `grad_norm_floor` moves them further, as with a low `optim.beta1`, that is the factor."""
    rate_jump_steps: Whole = Field(default=16, ge=1)
    """Steps before a jump that say what the rate was."""


class RepairPolicy(Contract):
    """How far aft may go on its own."""

    max_attempts_per_incident: Whole = Field(default=2, ge=0)
    """Repairs of one incident before a human is asked."""
    max_repairs_per_1000_steps: Whole = Field(default=20, ge=0)
    """Repairs in any 1,000 steps before a human is asked."""
    max_blacklist_share: float = Field(default=0.05, ge=0, le=1)
    """Largest share of a domain's rows that may be blacklisted without a human."""
    ask_before_rollback: bool = False
    """Whether a human confirms each rollback."""
    lr_factor: float = Field(default=0.5, gt=0, le=1)
    """Factor on the learning rate when the optimisation itself is at fault."""
    clip_factor: float = Field(default=0.5, gt=0, le=1)
    """Factor on the clip norm when the optimisation itself is at fault."""
    rewarmup_steps: Whole = Field(default=8, ge=0)
    """Steps over which the rate climbs again after such a repair."""
    replay_steps: Whole = Field(default=4, ge=1)
    """Most steps a causal replay trains up to and including the anomaly, for each variant."""
    max_clusters: Whole = Field(default=4, ge=1)
    """Most clusters of anomalies of one window that are replayed, the oldest first."""
    max_alone: Whole = Field(default=4, ge=1)
    """Most suspects that are each tried alone at once; a larger set is bisected."""
    max_averted_steps: Whole = Field(default=4, ge=0)
    """Most steps with nothing but an exploding gradient, all withheld, after which the run goes on unchanged."""
    harm_steps: Whole = Field(default=8, ge=1)
    """Steps beyond the incident over which it is measured whether leaving a suspect out helps later rows."""
    harm_nats: float = Field(default=0.01, gt=0)
    """Leaving a suspect out must lower the loss of those rows by this much more than leaving ordinary rows out …"""
    harm_z: float = Field(default=4.0, gt=0)
    """… and by this many standard errors, for the suspect to be a culprit and to be banned."""
    unproven_rows: Literal["tell", "ask", "ban"] = "tell"
    """What becomes of a row that caused an alarm and was not shown to do harm: it is told of and goes on, a human is
    asked whether to ban it, or it is banned. The run never goes back for it."""
    max_replays: Whole = Field(default=24, ge=2)
    """Most replays that explain one cluster of anomalies, without the look back; they bound the bisection of many
    suspects. With fewer than seven no harm is ever measured."""
    max_replayed_steps_per_1000: Whole = Field(default=2000, ge=0)
    """Steps that replays may train in any 1,000 steps. Beyond that an incident is replayed as it was and without its
    suspects, and from an older checkpoint where that may change the verdict, and no more: no harm is measured."""
    probation_steps: Whole = Field(default=10, ge=1)
    """Healthy steps beyond the incident before a repair counts as proven; they count from where the detector that found
    it is armed again, if the repair changed rate or clip."""


class ReviewPolicy(Contract):
    """How long a human is waited for, who that may be, and what happens when nobody answers."""

    deadline_s: float | None = Field(default=86_400.0, gt=0, le=31_536_000)
    """Seconds from the question to its deadline, by the database's clock; null waits for ever."""
    on_deadline: OnDeadline = OnDeadline.HOLD
    """What happens then: `hold` goes on waiting and says so, `apply` does what is proposed (and holds where nothing
    is), `go_on` changes nothing, `stop` ends the run."""
    answered_by: tuple[Annotated[str, StringConstraints(min_length=1, max_length=200)], ...] = ()
    """Who may answer: users by name, roles as `role:NAME`; empty lets everyone who may command the run."""


class CurriculumSpec(Contract):
    """How the data mix answers to forgetting."""

    every_windows: Whole = Field(default=4, ge=1)
    """Healthy windows between evaluations."""
    tolerance_nats: float = Field(default=0.05, gt=0)
    """Held-out loss may rise this far above its best before the domain's weight is raised."""
    gain: float = Field(default=1.5, gt=1)
    """Factor on the weight of a domain that was forgotten."""
    max_weight_share: float = Field(default=0.8, gt=0, lt=1)
    """Largest share of the mix one domain may reach this way."""
    adapt: bool = True
    """Whether the mix changes at all; evaluations are made either way."""


class CheckpointSpec(Contract):
    """Which checkpoints are kept."""

    keep_last: Whole = Field(default=3, ge=1)
    """Newest checkpoints of a generation that are kept. Healing is quick with three: that of the last window, the one
    that it began from, from which it is replayed, and the one before, by which a damaged state is told. With fewer,
    replays begin further back."""
    keep_every_steps: Whole = Field(default=0, ge=0)
    """Checkpoints at multiples of this step are kept too; 0 keeps none for that reason."""
    probation_steps: Whole = Field(default=2, ge=0)
    """Healthy steps after a checkpoint before it may be rolled back to."""


class ExportSpec(Contract):
    """What a finished run leaves behind."""

    adapter: bool = True
    """Whether a PEFT adapter directory is written (LoRA runs)."""
    merged: bool = False
    """Whether a merged Hugging Face directory is written; full fine-tuning always writes it."""


class RunSpec(Contract):
    """A fine-tuning run, whole."""

    name: str = Field(default="run", min_length=1, max_length=120)
    """A name for people; runs are identified by their id."""
    model: ModelSpec
    """Base model and adapters."""
    data: DataSpec
    """Training and held-out data."""
    optim: OptimSpec = OptimSpec()
    """Optimizer, batch and length."""
    window: WindowPolicy = WindowPolicy()
    """Window length."""
    detection: DetectionSpec = DetectionSpec()
    """Detectors and the in-step guard."""
    repair: RepairPolicy = RepairPolicy()
    """What may be repaired without asking."""
    reviews: ReviewPolicy = ReviewPolicy()
    """What becomes of a question to a human."""
    curriculum: CurriculumSpec = CurriculumSpec()
    """Evaluation and mix adaptation."""
    checkpoint: CheckpointSpec = CheckpointSpec()
    """Retention and probation."""
    notify: NotifySpec = NotifySpec()
    """Outside notifications."""
    export: ExportSpec = ExportSpec()
    """What is written at the end."""
    priority: Whole = Field(default=0, ge=-1000, le=1000)
    """Place in the queue for a worker's slot: higher goes first, equal ones by age."""
    seed: Whole = Field(default=0, ge=0, lt=2**31)
    """Seed of the data plan and of the adapters' first values."""
