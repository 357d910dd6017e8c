"""`distill`: quantized student, float teacher and data -> distilled.safetensors and history.csv."""

from __future__ import annotations

from mdcompress._version import __version__
from mdcompress.console import Report, percent
from mdcompress.manifest import Stage
from mdcompress.pipeline.networks import fitted, load_splits, teacher_weights, torch_device, trained_network
from mdcompress.pipeline.resuming import refuse_other_trainings, resumable
from mdcompress.pipeline.workspace import Workspace
from mdcompress.runs import DISTILLED_FILE, HISTORY_FILE, QUANTIZED_FILE


def distill(workspace: Workspace) -> Report:
    """Train the quantized student under its float teacher."""
    workspace.refuse_to_overwrite(Stage.DISTILL)
    workspace.require(Stage.QUANTIZE)
    weights, quantized = teacher_weights(workspace), workspace.run.file(QUANTIZED_FILE)
    from mdcompress.evaluation import evaluate
    from mdcompress.training import distill as distill_student
    from mdcompress.training import write_history
    from mdcompress.weights import load_student, save_student

    recipe, started = workspace.recipe, workspace.start(Stage.DISTILL, quantized, weights)
    refuse_other_trainings(workspace, started)
    student, own, splits = load_student(quantized), trained_network(workspace, weights), load_splits(workspace)
    teacher = fitted(workspace, own, splits).network
    with resumable(workspace, started) as training:
        distill_student(
            student,
            teacher=teacher,
            train=splits.train,
            validate=splits.validation,
            spec=recipe.distill,
            settings=recipe.train,
            seed=recipe.seed,
            checkpoint=training.checkpoint,
            progress=training.progress,
            device=torch_device(workspace),
        )
    accuracy = evaluate(student, splits.test).accuracy
    summary = f"distilled  test accuracy {percent(accuracy)}"
    with started.writing(measured={"test_accuracy": accuracy}, summary=summary) as folder:
        provenance = {"recipe": recipe.name, "mdcompress": __version__, "stage": Stage.DISTILL.value}
        save_student(student, folder / DISTILLED_FILE, provenance=provenance)
        write_history(training.history(), folder / HISTORY_FILE)
    workspace.run.discard_checkpoints(started.stage)
    return workspace.report(Stage.DISTILL)
