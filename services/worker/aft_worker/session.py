"""Session: one loaded run, its live state, and everything that can be asked of it."""

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

import jax
import jax.numpy as jnp
import structlog

from aft_contracts import (
    AnalysisResult,
    AnalysisSpec,
    CheckpointRef,
    DomainScore,
    DomainSize,
    EvaluationResult,
    EvaluationSpec,
    ExportJob,
    ExportResult,
    MetricsWindow,
    Replay,
    ReplayVariant,
    Schedule,
    StepRecord,
    WindowResult,
    WindowSpec,
    WorkerNote,
)
from aft_worker.checkpoint.record import CheckpointRecord, WindowRecord
from aft_worker.checkpoint.snapshot import snapshot
from aft_worker.checkpoint.store import CheckpointStore
from aft_worker.commits import Commits
from aft_worker.control import Control, Unattended, WorkerStopping
from aft_worker.course import course_before, is_ancestor
from aft_worker.data.batches import held_out_batches
from aft_worker.data.table import TokenTable
from aft_worker.durable import sweep
from aft_worker.errors import WorkerError
from aft_worker.export.adapter import write_adapter
from aft_worker.export.merged import write_merged
from aft_worker.ground import Ground
from aft_worker.ledger.writer import Ledger
from aft_worker.train.digest import state_digest
from aft_worker.train.evaluate import EvalLoss
from aft_worker.train.state import TrainState, init_state, unguarded
from aft_worker.trainer import Trainer

log = structlog.get_logger(__name__)


class GenerationMismatch(WorkerError):
    """A window names another generation than its schedule."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


@dataclass(frozen=True, kw_only=True)
class Live:
    """A state in memory, and where on the run's course it stands."""

    state: TrainState
    generation: int
    step: int
    schedule: Schedule

    def is_at(self, step: int, schedule: Schedule) -> bool:
        """Whether this is the very state that `schedule` leads to after `step` steps."""
        return (
            self.step == step
            and is_ancestor(self.generation, step, schedule, step)
            and course_before(self.schedule, step) == course_before(schedule, step)
        )


@dataclass(frozen=True, kw_only=True)
class Reached:
    """A state that the session was brought to, and what that took."""

    live: Live
    notes: tuple[WorkerNote, ...] = ()
    trained_steps: int = 0
    """Steps trained forward from the checkpoint."""


class Session:
    """Brings a run's state to any step and trains, replays, scores or exports from there; for one thread.

    What is trained is saved beside that thread, so training may run ahead of the disk.
    """

    def __init__(self, trainer: Trainer, run_folder: Path, *, may_write: Callable[[], None] = lambda: None) -> None:
        """Takes the run up in `run_folder`; a run without a checkpoint gets the one before its first step, in time.

        `may_write` raises once the run belongs to another worker: nothing is committed after that.
        """
        self.trainer, self._may_write = trainer, may_write
        sweep(run_folder)
        self.artifacts = run_folder.absolute() / "artifacts"
        self._ground = Ground(trainer)
        self._eval_loss = EvalLoss(trainer.model, trainer.mesh)
        first = self._first_state()
        self.store = CheckpointStore(run_folder / "checkpoints", first, trainer.spec.checkpoint, may_write=may_write)
        self.commits = Commits()
        self.ledger = Ledger(run_folder / "ledger")
        self._live: Live | None = None
        self._first_save: Future[CheckpointRef] | None = None
        if self.store.is_fresh() or not self.ledger.has_rows:
            self.ledger.write_rows(trainer.batches.tables)
        if self.store.is_fresh():
            self._live = Live(state=first, generation=0, step=0, schedule=Schedule())
            self._first_save = self.commits.hand_over_first(lambda: snapshot(first), self._save_first)

    @property
    def trainable_parameters(self) -> int:
        """How many numbers are trained."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.trainer.model.trainable))

    @property
    def domains(self) -> dict[str, DomainSize]:
        """Training domains by name."""
        tables = self.trainer.batches.tables
        return {
            name: DomainSize(rows=len(table), skipped=table.skipped, bad_rows=table.bad_rows)
            for name, table in tables.items()
        }

    def close(self) -> None:
        """Lets go of the state, once what is being saved is saved."""
        self._live = None
        self.commits.close()

    def seek(self, step: int, schedule: Schedule, control: Control | None = None) -> tuple[WorkerNote, ...]:
        """Brings the live state to exactly `step` on the course of `schedule`.

        Raises:
            NoGoodCheckpoint: no undamaged checkpoint leads there.
        """
        if self._live_at(step, schedule) is not None:
            return ()
        self._live = None  # Two states may not fit on the device.
        reached = self._brought_to(step, schedule, control or Unattended())
        self._live = reached.live
        return reached.notes

    def train_window(self, spec: WindowSpec, control: Control | None = None) -> WindowResult:
        """Trains the window and waits until result and weights are committed together."""
        return self.begin_window(spec, control).result()

    def begin_window(self, spec: WindowSpec, control: Control | None = None) -> Future[WindowResult]:
        """Trains the window and has it saved; the future ends once result and weights are committed together.

        A committed window is not trained again. A cancelled one ends early: its result and its checkpoint cover the
        steps that were done. The future fails when the window could not be saved: it is then to be put again, and
        until it is committed no window after it can be.

        Raises:
            GenerationMismatch: the window is of another generation than its schedule.
            EarlierWindowNotCommitted: a window before it failed.
            NoGoodCheckpoint: no undamaged checkpoint leads to its first step.
        """
        if spec.generation != spec.schedule.generation:
            raise GenerationMismatch(
                f"Window {spec.window_id} is of generation {spec.generation}, its schedule of "
                f"{spec.schedule.generation}; send the schedule of the window's own generation."
            )
        if (under_way := self.commits.under_way(spec.window_id)) is not None:
            return under_way
        if (committed := self._committed(spec)) is not None:
            return committed
        try:
            return self._trained(spec, control or Unattended())
        except WorkerStopping:
            raise
        except Exception:
            self.commits.leave_gap(spec.generation, spec.start_step)
            raise

    def replay(self, spec: AnalysisSpec, control: Control | None = None) -> AnalysisResult:
        """Trains the steps anew for each variant, all from the same state; the live state stays as it is."""
        control = control or Unattended()
        started = self.trainer.clock()
        reached = self._reached(spec.start_step, spec.schedule, control, newest=spec.newest_checkpoint)
        replays = [self._replayed(variant, reached.live.state, spec, control) for variant in spec.variants]
        return AnalysisResult(
            analysis_id=spec.analysis_id,
            replays=tuple(replays),
            approach_steps=reached.trained_steps,
            seconds=self.trainer.clock() - started,
        )

    def evaluate(self, spec: EvaluationSpec, control: Control | None = None) -> EvaluationResult:
        """Scores every held-out domain at one step; the live state stays as it is."""
        control = control or Unattended()
        state = self._reached(spec.step, spec.schedule, control, newest=spec.newest_checkpoint).live.state
        scores = {name: self._score(state, table, control) for name, table in self.trainer.held_out.items()}
        return EvaluationResult(evaluation_id=spec.evaluation_id, step=spec.step, scores=scores)

    def export(self, spec: ExportJob, control: Control | None = None) -> ExportResult:
        """Writes the state of one step in the forms asked for; what an earlier try wrote whole stays."""
        state = self._reached(spec.step, spec.schedule, control or Unattended()).live.state
        folder = self.artifacts / quote(spec.export_id, safe="")
        wanted = {"adapter": (spec.adapter, write_adapter), "merged": (spec.merged, write_merged)}
        written: dict[str, Path] = {}
        for form, (is_wanted, write) in wanted.items():
            if is_wanted:
                written[form] = folder / form
                if not written[form].exists():
                    folder.mkdir(parents=True, exist_ok=True)
                    write(self.trainer.model, state.trainable, self.trainer.spec.model, written[form])
        return ExportResult(
            export_id=spec.export_id,
            adapter_path=_path_or_none(written.get("adapter")),
            merged_path=_path_or_none(written.get("merged")),
            sha256={str(path): _sha256(path) for path in _weight_files(written.values())},
        )

    def _reached(self, step: int, schedule: Schedule, control: Control, *, newest: int | None = None) -> Reached:
        """The state before `step`, which may be the live one: copy it before training from it.

        It is made anew from no newer a checkpoint than `newest`, where that is given.
        """
        if newest is not None:
            return self._brought_to(step, schedule, control, newest=min(newest, step))
        live = self._live_at(step, schedule)
        return Reached(live=live) if live is not None else self._brought_to(step, schedule, control)

    def _brought_to(self, step: int, schedule: Schedule, control: Control, *, newest: int | None = None) -> Reached:
        """The state at `step`, restored and trained forward from the newest good checkpoint on the way.

        `newest` is the last step whose checkpoint may be used; `step` itself unless given.
        """
        self.commits.wait()
        if self.store.is_fresh():  # What was to be saved when the run was taken up could not be.
            self._save_first(self._first_state())
            self._first_save = None
        restored = self.store.newest_ancestor(schedule, step if newest is None else newest)
        self._ground.refuse_other(restored)
        state = restored.state
        if restored.step < step:
            log.info("training_forward", from_step=restored.step, to_step=step)
        for between in range(restored.step, step):
            control.raise_if_stopping()
            state, _ = self.trainer.advance(state, between, schedule)
        live = Live(state=state, generation=schedule.generation, step=step, schedule=schedule)
        return Reached(live=live, notes=restored.notes, trained_steps=step - restored.step)

    def _live_at(self, step: int, schedule: Schedule) -> Live | None:
        """The live state, if it is the one that `schedule` leads to after `step` steps."""
        if self.commits.took_failure():
            self._live = None  # What could not be saved is not built upon: it is trained again from what was.
        return self._live if self._live is not None and self._live.is_at(step, schedule) else None

    def _committed(self, spec: WindowSpec) -> Future[WindowResult] | None:
        """The result that an earlier try of the window committed."""
        result = self.store.window_result(
            spec.window_id,
            generation=spec.generation,
            after_step=spec.start_step,
            end_step=spec.start_step + spec.num_steps,
        )
        if result is None:
            return None
        self.commits.note_committed(result, spec.generation)
        committed: Future[WindowResult] = Future()
        committed.set_result(result)
        return committed

    def _trained(self, spec: WindowSpec, control: Control) -> Future[WindowResult]:
        self.commits.refuse_gap(spec)
        notes = self.seek(spec.start_step, spec.schedule, control)
        records = []
        for step in range(spec.start_step, spec.start_step + spec.num_steps):
            control.raise_if_stopping()
            if control.is_cancelled():
                self.commits.leave_gap(spec.generation, step)
                break
            records.append(self._advance_live(step, spec))
            control.step_finished(records[-1])
        control.trained()
        return self._handed_over(spec, tuple(records), notes, control)

    def _advance_live(self, step: int, spec: WindowSpec) -> StepRecord:
        live, self._live = self._live, None  # A step consumes its state: after a failure there is none to go on from.
        assert live is not None
        state, record = self.trainer.advance(live.state, step, spec.schedule)
        self._live = Live(state=state, generation=spec.generation, step=step + 1, schedule=spec.schedule)
        return record

    def _handed_over(
        self, spec: WindowSpec, records: tuple[StepRecord, ...], notes: tuple[WorkerNote, ...], control: Control
    ) -> Future[WindowResult]:
        live = self._live
        assert live is not None
        end_step = live.step

        def save(state: TrainState) -> WindowResult:
            return self._save_window(spec, state, end_step, records, notes)

        return self.commits.hand_over(spec, lambda: snapshot(live.state), save, control)

    def _first_state(self) -> TrainState:
        return init_state(self.trainer.model, self.trainer.spec.optim, self.trainer.spec.detection)

    def _save_first(self, state: TrainState) -> CheckpointRef:
        return self.store.save(state, generation=0, step=0, record=self._checkpoint_record(Schedule()))

    def _save_window(
        self,
        spec: WindowSpec,
        state: TrainState,
        end_step: int,
        records: tuple[StepRecord, ...],
        notes: tuple[WorkerNote, ...],
    ) -> WindowResult:
        """The committed window. Runs on the saver's thread; all that belongs to the window is written before the store
        commits, which its manifest does last."""
        if self._first_save is not None:
            self._first_save.result()  # Nothing is committed that could not be rolled back to the run's beginning.
        window = WindowRecord(
            window_id=spec.window_id,
            start_step=spec.start_step,
            end_step=end_step,
            metrics=MetricsWindow(window_id=spec.window_id, steps=records),
            state_digest=state_digest(state),
            notes=notes,
        )
        self._may_write()  # The ledger's file of a run that was lost is the new owner's.
        self.ledger.append(window.metrics, generation=spec.generation, index=spec.index)
        checkpoint = self.store.save(
            state,
            generation=spec.generation,
            step=end_step,
            record=self._checkpoint_record(spec.schedule, window),
        )
        return window.result(checkpoint)

    def _replayed(self, variant: ReplayVariant, state: TrainState, spec: AnalysisSpec, control: Control) -> Replay:
        masked = frozenset(variant.masked_sample_ids)
        state = jax.tree.map(jnp.copy, state)
        records = []
        for step in range(spec.start_step, spec.end_step):
            control.raise_if_stopping()
            if variant.unguarded:
                state = unguarded(state)
            state, record = self.trainer.advance(state, step, spec.schedule, masked)
            records.append(record)
        return Replay(name=variant.name, masked_sample_ids=variant.masked_sample_ids, steps=tuple(records))

    def _score(self, state: TrainState, table: TokenTable, control: Control) -> DomainScore:
        spec = self.trainer.spec
        nll, weight, tokens = 0.0, 0.0, 0
        for tokens_BT, loss_weights_BT in held_out_batches(
            table, batch_size=spec.optim.batch_size, max_length=spec.data.max_length
        ):
            control.raise_if_stopping()
            sums = jax.device_get(
                self._eval_loss(state.trainable, jnp.asarray(tokens_BT), jnp.asarray(loss_weights_BT))
            )
            nll, weight = nll + float(sums[0]), weight + float(sums[1])
            tokens += int((loss_weights_BT > 0).sum())
        return DomainScore(loss=nll / weight if weight else float("nan"), tokens=tokens)

    def _checkpoint_record(self, schedule: Schedule, window: WindowRecord | None = None) -> CheckpointRecord:
        return CheckpointRecord(
            schedule=schedule,
            data_digest=self._ground.data_digest,
            frozen_digest=self._ground.frozen_digest,
            architecture=self._ground.architecture,
            window=window,
        )


def _path_or_none(path: Path | None) -> str | None:
    return str(path) if path is not None else None


def _weight_files(folders: Iterable[Path]) -> list[Path]:
    return sorted(path for folder in folders for path in folder.glob("*.safetensors"))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
