"""The demo's run, as anyone could submit it."""

from pathlib import Path

from aft_contracts import (
    CurriculumSpec,
    DataSpec,
    DetectionSpec,
    DomainSpec,
    LoraSpec,
    ModelSpec,
    OptimSpec,
    RepairPolicy,
    RunSpec,
    WindowPolicy,
)
from examples.demo import plan
from examples.demo.dataset import DemoData


def demo_spec(model_dir: Path, data: DemoData) -> RunSpec:
    """LoRA on two kinds of small talk, with a human asked before each rollback and each ban without proof."""
    return RunSpec(
        name="demo: SmolLM2-135M on chit-chat",
        model=ModelSpec(path=str(model_dir.resolve()), lora=LoraSpec(rank=8, alpha=16.0)),
        data=DataSpec(
            domains={domain: DomainSpec(path=str(path.resolve())) for domain, path in data.training.items()},
            evaluation={domain: str(path.resolve()) for domain, path in data.held_out.items()},
            max_length=plan.MAX_LENGTH,
        ),
        optim=OptimSpec(steps=plan.STEPS, batch_size=plan.BATCH_SIZE, learning_rate=3e-4, warmup_steps=8),
        window=WindowPolicy(steps=plan.WINDOW_STEPS),
        # In a run this short the history still holds the steep first steps, which makes its spread wide: six deviations
        # would let a spoiled batch pass. Clean batches stay below 2 here, clean rows below 2.5.
        detection=DetectionSpec(
            min_steps=plan.ARMED_AFTER_STEPS, min_samples=24, loss_z=3.5, outlier_z=4.5, sample_z=4.5
        ),
        # A human is asked about each row. Six replays leave out the trial of what a row does to later ones, which would
        # take this model longer than all the rest.
        repair=RepairPolicy(ask_before_rollback=True, unproven_rows="ask", replay_steps=3, max_replays=6),
        # The evaluation is made, but the mix stays: each row is then drawn once, and the answer key can say when.
        curriculum=CurriculumSpec(every_windows=3, adapt=False),
        seed=plan.SEED,
    )
