"""A session's promises: the state at a step depends on spec and schedule alone, however it was reached."""

import json
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from aft_contracts import (
    AnalysisSpec,
    EvaluationSpec,
    ExportJob,
    ReplayVariant,
    RunSpec,
    Schedule,
    StepRecord,
    WindowResult,
    WindowSpec,
    Withheld,
    window_id_of,
)
from aft_worker.control import Unattended, WorkerStopping
from aft_worker.durable import unfinished
from aft_worker.ground import BaseWeightsChanged, ModelConfigChanged, TrainingDataChanged
from aft_worker.model.frozen_digest import FrozenDigest
from aft_worker.model.mesh import make_mesh
from aft_worker.session import GenerationMismatch, Session
from aft_worker.train.digest import state_digest
from aft_worker.train.state import TrainState
from aft_worker.trainer import Trainer, load_trainer
from examples.tiny_model import write_tiny_model

MakeSpec = Callable[..., RunSpec]
OpenSession = Callable[..., Session]

LORA = {"rank": 2, "alpha": 4}


def window(start: int, steps: int, schedule: Schedule | None = None, index: int = 0) -> WindowSpec:
    schedule = schedule or Schedule()
    return WindowSpec(
        window_id=window_id_of("run", schedule.generation, index),
        run_id="run",
        generation=schedule.generation,
        index=index,
        start_step=start,
        num_steps=steps,
        schedule=schedule,
    )


def trained(session: Session, *cuts: int, schedule: Schedule | None = None) -> WindowResult:
    """The last of several windows, trained one after the other up to each cut."""
    start = 0
    for index, cut in enumerate(cuts):
        result = session.train_window(window(start, cut - start, schedule, index))
        start = cut
    return result


def on_model_of_its_own(
    make_spec: MakeSpec, folder: Path, *, lora: dict[str, int] | None = LORA, **config: object
) -> RunSpec:
    """A spec whose model a test may change; `config` replaces keys of its config.json."""
    write_tiny_model(folder, num_hidden_layers=1, **config)
    return make_spec(model={"path": str(folder), "lora": lora})


class StopsAfter(Unattended):
    """Cancels, or stops the worker, once so many steps are done."""

    def __init__(self, steps: int, *, worker_stops: bool = False) -> None:
        self.left, self.worker_stops = steps, worker_stops

    def is_cancelled(self) -> bool:
        return self.left == 0 and not self.worker_stops

    def raise_if_stopping(self) -> None:
        if self.left == 0 and self.worker_stops:
            raise WorkerStopping

    def step_finished(self, record: StepRecord) -> None:
        self.left -= 1


def measured(steps: tuple[StepRecord, ...]) -> list[dict[str, object]]:
    """The steps without their times."""
    return [step.model_dump(mode="json", exclude={"seconds"}) for step in steps]


def test_restart_continues_bit_identically(make_spec: MakeSpec, open_session: OpenSession) -> None:
    spec = make_spec()
    unbroken = open_session(spec, "unbroken")
    trained(unbroken, 6, 12)
    before = open_session(spec)
    trained(before, 6)
    after = open_session(spec)
    result = after.train_window(window(6, 6, index=1))
    assert result.state_digest == state_digest(unbroken._live.state)
    assert result.notes == ()
    assert unbroken.trainer.train_step.compilations == after.trainer.train_step.compilations == 1


def test_the_cut_into_windows_leaves_no_trace(make_spec: MakeSpec, open_session: OpenSession) -> None:
    spec = make_spec()
    digests = {trained(open_session(spec, str(cuts)), *cuts).state_digest for cuts in [(12,), (5, 12), (1, 2, 11, 12)]}
    assert len(digests) == 1


def test_a_killed_window_is_trained_again_bit_identically(make_spec: MakeSpec, open_session: OpenSession) -> None:
    spec = make_spec()
    with pytest.raises(WorkerStopping):
        open_session(spec).train_window(window(0, 8), StopsAfter(5, worker_stops=True))
    again = open_session(spec).train_window(window(0, 8))
    unbroken = trained(open_session(spec, "unbroken"), 8)
    assert again.state_digest == unbroken.state_digest
    assert measured(again.metrics.steps) == measured(unbroken.metrics.steps)


def test_a_committed_window_is_not_trained_again(make_spec: MakeSpec, open_session: OpenSession) -> None:
    spec = make_spec()
    first = trained(open_session(spec), 4)
    restarted = open_session(spec)
    assert restarted.train_window(window(0, 4)) == first
    assert restarted.trainer.train_step.compilations == 0


def test_a_damaged_checkpoint_is_told_of_and_changes_nothing(
    make_spec: MakeSpec, open_session: OpenSession, tmp_path: Path
) -> None:
    spec = make_spec()
    trained(open_session(spec), 4, 8)
    manifest = tmp_path / "run/checkpoints/0/8/manifest.json"
    manifest.write_text(manifest.read_text().replace('"size": ', '"size": 1'))
    result = open_session(spec).train_window(window(8, 4, index=2))
    assert [note.kind for note in result.notes] == ["checkpoint_fell_back"]
    assert result.state_digest == trained(open_session(spec, "unbroken"), 12).state_digest


def test_a_cancelled_window_keeps_what_was_done(make_spec: MakeSpec, open_session: OpenSession) -> None:
    session = open_session(make_spec())
    result = session.train_window(window(0, 8), StopsAfter(3))
    assert (result.end_step, result.checkpoint.step, len(result.metrics.steps)) == (3, 3, 3)
    rest = session.train_window(window(3, 5, index=1))
    assert rest.state_digest == trained(open_session(make_spec(), "unbroken"), 8).state_digest


def test_a_window_cancelled_at_once_trains_nothing(make_spec: MakeSpec, open_session: OpenSession) -> None:
    session = open_session(make_spec())
    first = trained(session, 4)
    result = session.train_window(window(4, 4, index=1), StopsAfter(0))
    assert (result.start_step, result.end_step, result.metrics.steps) == (4, 4, ())
    assert result.checkpoint == first.checkpoint
    assert result.state_digest == first.state_digest


def test_a_branch_trains_like_a_run_that_always_had_its_schedule(
    make_spec: MakeSpec, open_session: OpenSession
) -> None:
    spec = make_spec()
    session = open_session(spec)
    trained(session, 4, 8)
    branched = Schedule().with_rate(0.5, step=6).with_blacklisted(["t3"], step=6, cause="test").rolled_back(4)
    result = session.train_window(window(4, 6, branched, index=2))
    straight = Schedule().with_rate(0.5, step=4).with_blacklisted(["t3"], step=4, cause="test")
    assert result.checkpoint.generation == 1
    assert result.state_digest == trained(open_session(spec, "straight"), 4, 10, schedule=straight).state_digest


@pytest.mark.parametrize(
    "schedule",
    [
        pytest.param(Schedule().with_rate(0.5, step=6), id="rate"),
        pytest.param(Schedule().with_clip(0.5, step=6), id="clip"),
        pytest.param(Schedule().with_mix({"text": 0.1, "asked": 0.9}, step=6), id="mix"),
    ],
)
def test_the_guard_begins_anew_with_another_course_however_that_step_is_reached(
    make_spec: MakeSpec, open_session: OpenSession, schedule: Schedule
) -> None:
    unbroken = open_session(make_spec(), "unbroken")
    steps = unbroken.train_window(window(0, 10, schedule)).metrics.steps
    guard = unbroken._live.state.guard
    assert int(guard.count) == 4
    np.testing.assert_allclose(guard.losses[:4], [step.loss for step in steps[6:]], rtol=1e-6)
    resumed = open_session(make_spec())
    trained(resumed, 4, 6, schedule=schedule)
    result = open_session(make_spec()).train_window(window(6, 4, schedule, 2))
    assert result.state_digest == state_digest(unbroken._live.state)
    replay = AnalysisSpec(
        analysis_id="a",
        run_id="run",
        schedule=schedule,
        start_step=5,
        end_step=8,
        variants=(ReplayVariant(name="as_it_was"),),
    )
    assert measured(unbroken.replay(replay).replays[0].steps) == measured(steps[5:8])
    assert unbroken.trainer.train_step.compilations == 1


def test_a_ban_and_a_rollback_leave_the_guard_what_it_knows(make_spec: MakeSpec, open_session: OpenSession) -> None:
    session = open_session(make_spec())
    trained(session, 4, 8)
    branched = Schedule().with_blacklisted(["t3"], step=6, cause="test").rolled_back(4)
    session.train_window(window(4, 6, branched, index=2))
    assert int(session._live.state.guard.count) == 10


def test_the_live_state_serves_a_branch_at_its_own_step(make_spec: MakeSpec, open_session: OpenSession) -> None:
    session = open_session(make_spec())
    trained(session, 4)
    live = session._live
    session.seek(4, Schedule().rolled_back(4))
    assert session._live is live
    session.seek(2, Schedule())
    assert (session._live.step, session.seek(2, Schedule())) == (2, ())


def test_a_lifted_ban_is_no_other_past_for_the_steps_before_it(make_spec: MakeSpec, open_session: OpenSession) -> None:
    banned = Schedule().with_blacklisted(["t3"], step=2, cause="d1")
    lifted = banned.with_lifted(["t3"], step=8)
    session = open_session(make_spec())
    trained(session, 4, 8, schedule=banned)
    live = session._live
    assert live is not None
    assert live.is_at(8, lifted)
    assert not live.is_at(8, banned.with_lifted(["t3"], step=6))
    going_on = session.train_window(window(8, 4, lifted, 2))
    anew = trained(open_session(make_spec(), "anew"), 8, 12, schedule=lifted)
    assert going_on.state_digest == anew.state_digest


def test_a_changed_past_is_trained_anew(make_spec: MakeSpec, open_session: OpenSession) -> None:
    """A schedule that differs before the checkpoint's step does not lead to that checkpoint."""
    session = open_session(make_spec())
    trained(session, 4)
    other = Schedule().with_clip(1e-3, step=2)
    session.seek(4, other)
    assert state_digest(session._live.state) != trained(open_session(make_spec(), "as_was"), 4).state_digest
    fresh = open_session(make_spec(), "other")
    assert state_digest(session._live.state) == trained(fresh, 4, schedule=other).state_digest


def test_replay_masks_the_suspects_alone_and_leaves_the_live_state(
    make_spec: MakeSpec, open_session: OpenSession
) -> None:
    session = open_session(make_spec())
    steps = trained(session, 4, 8).metrics.steps
    live = state_digest(session._live.state)
    suspect = steps[1].samples[0].sample_id
    spec = AnalysisSpec(
        analysis_id="a",
        run_id="run",
        schedule=Schedule(),
        start_step=4,
        end_step=6,
        variants=(
            ReplayVariant(name="as_it_was"),
            ReplayVariant(name="without", masked_sample_ids=(suspect,)),
            ReplayVariant(name="again"),
        ),
    )
    as_it_was, without, again = session.replay(spec).replays
    assert measured(as_it_was.steps) == measured(again.steps) == measured(steps[:2])
    assert measured(without.steps[:1]) == measured(steps[:1])
    masked, *others = without.steps[1].samples
    assert (masked.sample_id, masked.tokens) == (suspect, 0)
    assert [other.loss for other in others] == [sample.loss for sample in steps[1].samples[1:]]
    assert without.steps[1].loss != steps[1].loss
    assert state_digest(session._live.state) == live
    assert session.trainer.train_step.compilations == 1


@pytest.mark.parametrize("packing", [False, True])
def test_a_replay_without_a_sample_whose_activations_are_not_finite_is_sound(
    make_spec: MakeSpec, open_session: OpenSession, tmp_path: Path, packing: bool
) -> None:
    spec = on_model_of_its_own(make_spec, tmp_path / "model", tie_word_embeddings=False)
    weights = load_file(tmp_path / "model/model.safetensors")
    rare = Tokenizer.from_file(str(tmp_path / "model/tokenizer.json")).token_to_id("Z")
    weights["model.embed_tokens.weight"][rare] = np.nan
    save_file(weights, tmp_path / "model/model.safetensors")
    poisoned = make_spec(poison=[{"id": "evil", "text": "a Zebra"}], model=spec.model.model_dump(mode="json"))
    fields = poisoned.model_dump(mode="json")
    fields["data"] |= {"packing": packing, "max_packed_rows": 3, "max_length": 40}
    session = open_session(RunSpec.model_validate(fields))
    steps = trained(session, 14).metrics.steps
    hit = next(step for step in steps if "evil" in [sample.sample_id for sample in step.samples])
    assert hit.withheld is Withheld.NON_FINITE
    replay = AnalysisSpec(
        analysis_id="a",
        run_id="run",
        schedule=Schedule(),
        start_step=hit.step,
        end_step=hit.step + 1,
        variants=(ReplayVariant(name="without", masked_sample_ids=("evil",)),),
    )
    (without,) = session.replay(replay).replays[0].steps
    assert without.withheld is None
    assert [sample.sample_id for sample in without.samples] == [sample.sample_id for sample in hit.samples]
    assert all(np.isfinite(sample.grad_norm) for sample in without.samples)


def test_an_unguarded_replay_applies_what_the_guard_withheld(make_spec: MakeSpec, open_session: OpenSession) -> None:
    detection = {"min_steps": 4, "history_steps": 8, "loss_z": 1e-6, "grad_norm_z": 1e-6, "max_rejections": 1000}
    optim = {"steps": 40, "batch_size": 4, "learning_rate": 1e-3, "warmup_steps": 2}
    session = open_session(make_spec(detection=detection, optim=optim))
    steps = trained(session, 8, 16).metrics.steps
    refused = next(step.step for step in steps if step.withheld in (Withheld.LOSS, Withheld.GRAD_NORM))
    spec = AnalysisSpec(
        analysis_id="a",
        run_id="run",
        schedule=Schedule(),
        start_step=refused,
        end_step=18,
        variants=(ReplayVariant(name="as_it_was"), ReplayVariant(name="applied", unguarded=True)),
    )
    as_it_was, applied = session.replay(spec).replays
    assert measured(as_it_was.steps[:1]) == measured(steps[refused - 8 : refused - 7])
    assert all(step.applied for step in applied.steps)
    assert applied.steps[0].loss == as_it_was.steps[0].loss
    assert applied.steps[1].loss != as_it_was.steps[1].loss
    assert session.trainer.train_step.compilations == 1


@pytest.mark.parametrize(("start", "newest", "approach"), [(12, None, 0), (10, None, 2), (8, None, 0), (10, 0, 10)])
def test_a_replay_tells_how_far_it_had_to_train_from_the_checkpoint(
    make_spec: MakeSpec, open_session: OpenSession, start: int, newest: int | None, approach: int
) -> None:
    session = open_session(make_spec())
    trained(session, 8, 12)
    spec = AnalysisSpec(
        analysis_id="a",
        run_id="run",
        schedule=Schedule(),
        start_step=start,
        end_step=start + 1,
        newest_checkpoint=newest,
        variants=(ReplayVariant(name="as_it_was"), ReplayVariant(name="again")),
    )
    assert session.replay(spec).approach_steps == approach


def test_a_replay_from_an_older_checkpoint_does_not_see_what_damaged_the_newer_one(
    make_spec: MakeSpec, open_session: OpenSession
) -> None:
    session = open_session(make_spec())
    steps = trained(session, 4, 8).metrics.steps
    live = session._live
    assert live is not None
    twice = TrainState(
        trainable=jax.tree.map(lambda leaf: 2 * leaf, live.state.trainable),
        opt_state=live.state.opt_state,
        guard=live.state.guard,
        step=live.state.step,
    )
    session._live = replace(live, state=twice)
    hit = session.train_window(window(8, 4, None, 2)).metrics.steps
    following = session.train_window(window(12, 1, None, 3)).metrics.steps
    assert measured(hit) != measured(steps)
    shared = {"run_id": "run", "schedule": Schedule(), "start_step": 12, "end_step": 13}
    variants = (ReplayVariant(name="again"),)
    newest = session.replay(AnalysisSpec(analysis_id="a", variants=variants, **shared)).replays[0]
    older = session.replay(AnalysisSpec(analysis_id="b", variants=variants, newest_checkpoint=8, **shared)).replays[0]
    undisturbed = trained(open_session(make_spec(), "undisturbed"), 4, 8, 12, 13).metrics.steps
    assert measured(newest.steps) == measured(following)
    assert measured(older.steps) == measured(undisturbed) != measured(following)


def test_an_evaluation_from_an_older_checkpoint_does_not_see_what_was_damaged_since(
    make_spec: MakeSpec, open_session: OpenSession
) -> None:
    session = open_session(make_spec())
    trained(session, 4, 8)
    as_it_is = EvaluationSpec(evaluation_id="e", run_id="run", schedule=Schedule(), step=8)
    again = EvaluationSpec(evaluation_id="f", run_id="run", schedule=Schedule(), step=8, newest_checkpoint=4)
    sound = session.evaluate(as_it_is).scores
    assert session._live is not None
    live = session._live
    twice = TrainState(
        trainable=jax.tree.map(lambda leaf: 2 * leaf, live.state.trainable),
        opt_state=live.state.opt_state,
        guard=live.state.guard,
        step=live.state.step,
    )
    session._live = replace(live, state=twice)
    assert session.evaluate(as_it_is).scores != sound
    assert session.evaluate(again).scores == sound
    assert session._live.state is twice, "what is trained on stays what it is"


def test_a_poisoned_row_is_withheld_and_named(make_spec: MakeSpec, open_session: OpenSession) -> None:
    spec = make_spec(poison=[{"id": "evil", "text": "the moon is cheese", "weight": 3e38}])
    steps = trained(open_session(spec), 14).metrics.steps
    hit = [step for step in steps if "evil" in [sample.sample_id for sample in step.samples]]
    assert [step.withheld for step in hit] == [Withheld.NON_FINITE] * len(hit) != []
    assert all(step.applied for step in steps if step not in hit)
    assert all((step.update_rms or 0.0) > 0.0 for step in steps if step not in hit)
    assert [step.update_rms for step in hit] == [None] * len(hit)


def test_a_skipped_step_consumes_its_batch_alone(make_spec: MakeSpec, open_session: OpenSession) -> None:
    schedule = Schedule().with_skipped(2)
    steps = trained(open_session(make_spec()), 4, schedule=schedule).metrics.steps
    plain = trained(open_session(make_spec(), "plain"), 4).metrics.steps
    assert [step.withheld for step in steps] == [None, None, Withheld.SKIPPED, None]
    assert [[s.sample_id for s in step.samples] for step in steps] == [
        [s.sample_id for s in step.samples] for step in plain
    ]


def test_evaluation_is_the_mean_over_all_held_out_tokens(make_spec: MakeSpec, open_session: OpenSession) -> None:
    session = open_session(make_spec())
    trained(session, 8)
    live = state_digest(session._live.state)
    late, early = (
        session.evaluate(EvaluationSpec(evaluation_id="e", run_id="run", schedule=Schedule(), step=step)).scores
        for step in (8, 0)
    )
    assert late["text"].loss < early["text"].loss
    assert late["text"].tokens == int(session.trainer.held_out["text"].is_target.sum())
    # 264 tokens at random: the untrained model knows next to nothing.
    assert early["asked"].loss == pytest.approx(np.log(264), rel=0.2)
    assert state_digest(session._live.state) == live


def test_export_writes_what_was_asked_for_and_twice_is_harmless(
    make_spec: MakeSpec, open_session: OpenSession, tmp_path: Path
) -> None:
    session = open_session(make_spec())
    trained(session, 4)
    job = ExportJob(export_id="x:1", run_id="run", schedule=Schedule(), step=4, adapter=True, merged=True)
    result = session.export(job)
    assert session.export(job) == result
    assert Path(result.adapter_path or "").parent.is_relative_to(tmp_path / "run" / "artifacts")
    assert {Path(path).name for path in result.sha256} == {"adapter_model.safetensors", "model.safetensors"}


def test_what_a_kill_left_half_written_is_swept_when_the_run_is_taken_up(
    make_spec: MakeSpec, open_session: OpenSession, tmp_path: Path
) -> None:
    trained(open_session(make_spec()), 4)
    left = unfinished(tmp_path / "run/artifacts/merged")
    left.mkdir(parents=True)
    os.utime(left, (0, 0))
    assert open_session(make_spec()).train_window(window(4, 4, index=1)).notes == ()
    assert not left.exists()


def test_other_rows_than_were_trained_on_are_refused(make_spec: MakeSpec, open_session: OpenSession) -> None:
    trained(open_session(make_spec()), 4)
    changed = open_session(make_spec(poison=[{"text": "new"}]))
    with pytest.raises(TrainingDataChanged, match="was trained on other rows"):
        changed.train_window(window(4, 4, index=1))


def test_other_base_weights_than_were_trained_on_are_refused(
    make_spec: MakeSpec, open_session: OpenSession, tmp_path: Path
) -> None:
    spec = on_model_of_its_own(make_spec, tmp_path / "model")
    trained(open_session(spec), 4)
    write_tiny_model(tmp_path / "model", num_hidden_layers=1, seed=1)
    changed = open_session(spec)
    short = changed.trainer.model.frozen_digest.result()[:12]
    message = rf"at step 4 was trained on other weights \([0-9a-f]{{12}}\) than were loaded from '.*/model' \({short}\)"
    with pytest.raises(BaseWeightsChanged, match=message + "; restore the model's files or start a new run"):
        changed.train_window(window(4, 4, index=1))
    write_tiny_model(tmp_path / "model", num_hidden_layers=1)
    assert open_session(spec).train_window(window(4, 4, index=1)).notes == ()


@pytest.mark.parametrize("lora", [None, LORA])
def test_another_config_of_the_model_than_was_trained_with_is_refused(
    make_spec: MakeSpec, open_session: OpenSession, tmp_path: Path, lora: dict[str, int] | None
) -> None:
    spec = on_model_of_its_own(make_spec, tmp_path / "model", lora=lora)
    trained(open_session(spec), 4)
    config = tmp_path / "model" / "config.json"
    as_it_was = config.read_text()
    config.write_text(json.dumps({**json.loads(as_it_was), "rms_norm_eps": 0.25, "rope_theta": 7.0}))
    with pytest.raises(
        ModelConfigChanged, match=r"norm_eps 1e-0\d, now 0.25, layer_kinds .*; restore the model's files"
    ):
        open_session(spec).train_window(window(4, 4, index=1))
    config.write_text(json.dumps({**json.loads(as_it_was), "transformers_version": "9"}, indent=4))
    assert open_session(spec).train_window(window(4, 4, index=1)).notes == ()


def test_full_fine_tuning_goes_on_from_its_own_weights_whatever_became_of_the_model(
    make_spec: MakeSpec, open_session: OpenSession, tmp_path: Path
) -> None:
    spec = on_model_of_its_own(make_spec, tmp_path / "model", lora=None)
    unbroken = trained(open_session(spec, "unbroken"), 4, 8)
    trained(open_session(spec), 4)
    write_tiny_model(tmp_path / "model", num_hidden_layers=1, seed=1)
    assert open_session(spec).train_window(window(4, 4, index=1)).state_digest == unbroken.state_digest


def test_a_checkpoint_from_before_base_weights_had_a_digest_is_taken_up(
    make_spec: MakeSpec, open_session: OpenSession, tmp_path: Path
) -> None:
    spec = make_spec()
    with closing(
        Session(with_digest(load_trainer(spec, make_mesh()), FrozenDigest(nnx.State({}))), tmp_path / "run")
    ) as old:
        trained(old, 4)
        assert old.store.newest_ancestor(Schedule(), 4).record.frozen_digest is None
    session = open_session(spec)
    result = session.train_window(window(4, 4, index=1))
    assert result.state_digest == trained(open_session(spec, "unbroken"), 8).state_digest
    assert session.store.newest_ancestor(Schedule(), 8).record.frozen_digest is not None


def test_a_window_whose_base_weights_could_not_be_read_is_not_committed(
    make_spec: MakeSpec, open_session: OpenSession, tmp_path: Path
) -> None:
    trainer = load_trainer(make_spec(), make_mesh())
    lost = jax.tree.map(jax.numpy.copy, trainer.model.frozen)
    jax.tree.map(lambda leaf: leaf.delete(), lost)
    with closing(Session(with_digest(trainer, FrozenDigest(lost)), tmp_path / "run")) as session:
        with pytest.raises(RuntimeError, match="deleted"):
            trained(session, 4)
        assert session.store.is_fresh()


def with_digest(trainer: Trainer, digest: FrozenDigest) -> Trainer:
    return replace(trainer, model=replace(trainer.model, frozen_digest=digest))


def test_a_window_of_another_generation_than_its_schedule_is_refused(
    make_spec: MakeSpec, open_session: OpenSession
) -> None:
    spec = window(0, 4).model_copy(update={"generation": 1})
    with pytest.raises(GenerationMismatch):
        open_session(make_spec()).train_window(spec)


ALL_AT_ONCE = {
    "data": {"packing": True, "max_packed_rows": 3, "max_length": 40},
    "model": {"lora": {"rank": 2, "alpha": 4, "dropout": 0.2}, "compute": "bfloat16", "remat": "full"},
    "optim": {"accumulation_steps": 2},
}


def with_everything(spec: RunSpec) -> RunSpec:
    """The spec with packing, dropout, bfloat16, full rematerialisation and accumulation."""
    fields = spec.model_dump(mode="json")
    return RunSpec.model_validate(fields | {key: fields[key] | changes for key, changes in ALL_AT_ONCE.items()})


def test_packed_run_survives_restart_ban_mix_and_rollback_bit_identically(
    make_spec: MakeSpec, open_session: OpenSession
) -> None:
    spec = with_everything(make_spec())
    unbroken, before = open_session(spec, "unbroken"), open_session(spec)
    first = trained(unbroken, 6)
    suspects = [sample.sample_id for sample in first.metrics.steps[2].samples][:2]
    schedule = Schedule().with_blacklisted(suspects, step=6, cause="test").with_mix({"asked": 1.0, "text": 3.0}, step=6)
    result = unbroken.train_window(window(6, 6, schedule, index=1))
    assert all(sample.sample_id not in suspects for step in result.metrics.steps for sample in step.samples)

    trained(before, 6)
    after = open_session(spec)
    resumed = after.train_window(window(6, 6, schedule, index=1))
    assert resumed.state_digest == result.state_digest
    assert measured(resumed.metrics.steps) == measured(result.metrics.steps)

    back = schedule.rolled_back(6)
    assert unbroken.train_window(window(6, 6, back, index=2)).state_digest == result.state_digest
    assert unbroken.trainer.train_step.compilations == after.trainer.train_step.compilations == 1


def test_packed_steps_name_more_samples_than_lines(make_spec: MakeSpec, open_session: OpenSession) -> None:
    spec = with_everything(make_spec(optim={"steps": 40, "batch_size": 2}))
    result = trained(open_session(spec), 8)
    counts = [len(step.samples) for step in result.metrics.steps]
    assert max(counts) > 2
    for step in result.metrics.steps:
        assert step.tokens == sum(sample.tokens for sample in step.samples)
        assert all(sample.tokens > 0 and sample.loss > 0 and sample.grad_norm > 0 for sample in step.samples)
        assert all(0.0 <= sample.accuracy <= 1.0 for sample in step.samples)
        assert all(0.0 <= sample.repetition < 1.0 for sample in step.samples)
