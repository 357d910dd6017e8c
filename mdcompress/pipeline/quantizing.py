"""`quantize`: float network, weights, recipe and calibration data -> plan.yaml and quantized.safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from intsnn.files import write_atomically
from mdcompress._version import __version__
from mdcompress.pipeline.accuracies import CountedTest
from mdcompress.pipeline.networks import (
    at_steps,
    fresh_network,
    load_or_describe,
    load_splits,
    seeded,
    teacher_weights,
    traced_and_planned,
    trained_network,
)
from mdcompress.pipeline.other_teacher import require_other_teacher
from mdcompress.pipeline.report import JsonValue, Report, percent, table
from mdcompress.pipeline.sizes import overridden_in_words, weights_measured
from mdcompress.pipeline.threads import own_threads_afterwards, use_threads
from mdcompress.pipeline.workspace import Workspace
from mdcompress.runs import PLAN_FILE, QUANTIZED_FILE, Overwrite
from mdcompress.runs.manifest import Stage

if TYPE_CHECKING:
    from mdcompress.planning import QuantPlan


@own_threads_afterwards()
def quantize(workspace: Workspace) -> Report:
    """Quantize the float network and find its scales, without training.

    Raises:
        GraphError: no integer graph can hold the student; nothing is written then.
    """
    workspace.require_one_student()
    with workspace.held(), workspace.listener.stage(Stage.QUANTIZE.value, "network and data"):
        return workspace.report(Stage.QUANTIZE) if workspace.has_finished(Stage.QUANTIZE) else _quantize(workspace)


def _quantize(workspace: Workspace) -> Report:
    workspace.refuse_to_overwrite(Stage.QUANTIZE)
    weights = teacher_weights(workspace)
    from mdcompress.calibration import calibrate
    from mdcompress.data import calibration
    from mdcompress.evaluation import evaluate
    from mdcompress.planning import layer_weights, weights_by_bits
    from mdcompress.student.lowering import lower
    from mdcompress.student.quantizing import quantize as quantize_network
    from mdcompress.student.weights import save_student

    recipe, started = workspace.recipe, workspace.start(Stage.QUANTIZE, weights)
    own, splits = trained_network(workspace, weights), load_splits(workspace)
    network, graph, plan = traced_and_planned(workspace, own, splits)
    threads = use_threads(workspace, graph)
    samples = calibration(splits, recipe.data.calibration_samples, seed=recipe.seed)
    steps = recipe.student_time_steps
    workspace.listener.doing("calibration")
    with seeded(recipe.seed):
        start = at_steps(workspace, network, splits, steps)
        student = calibrate(
            quantize_network(start, graph, plan),
            [x[:steps] for x, _ in samples],
            spec=recipe.calibrate,
            teacher=start,
            tell=workspace.listener.doing,
        )
    workspace.listener.doing("proof that no sum overflows")
    lower(student)  # what no integer graph can hold is said before a training, not after it
    workspace.listener.doing("test accuracy")
    test = CountedTest(splits.test)
    accuracies = {
        "teacher_test_accuracy": evaluate(network, test).accuracy,
        "test_accuracy": evaluate(student, test, time_steps=steps).accuracy,
    }
    seen = recipe.data.time_steps
    teachers, students = ("", "") if steps == seen else (f" at T = {seen}", f" at T = {steps}")
    weights_of = weights_by_bits(layer_weights(plan, graph))
    lines = [
        f"teacher    test accuracy {percent(accuracies['teacher_test_accuracy'])}{teachers}",
        f"quantized  test accuracy {percent(accuracies['test_accuracy'])}{students}",
        overridden_in_words(recipe.quantize.weight.bit_width, weights_of),
    ]
    measured = {**accuracies, **test.recorded, **threads, **weights_measured(weights_of)}
    with started.writing(measured=measured, summary="\n".join(filter(None, lines))) as folder:
        write_atomically(folder / PLAN_FILE, plan_text(plan).encode())
        provenance = {"recipe": recipe.name, "mdcompress": __version__, "stage": Stage.QUANTIZE.value}
        save_student(student, folder / QUANTIZED_FILE, provenance=provenance)
    if workspace.overwrite is Overwrite.REPLACE:
        workspace.run.discard_checkpoints(Stage.DISTILL)  # an unfinished distillation was of the student before
    return workspace.report(Stage.QUANTIZE)


def preview(workspace: Workspace) -> Report:
    """What `quantize` would do to every node: its shape, policy, and the rule that set it. Writes nothing.

    Of neurons that were read off the network's code, line and equation come first. A named data set need not
    be there: the shape of its samples is enough. Another teacher that the recipe names is built.
    """
    from mdcompress.planning import format_plan, layer_weights, weights_by_bits

    named = workspace.model.trained
    network = fresh_network(workspace) if named is None else trained_network(workspace, teacher_weights(workspace))
    _, graph, plan = traced_and_planned(workspace, network, load_or_describe(workspace))
    require_other_teacher(workspace)
    rows = format_plan(plan, graph)
    text = table(
        ["node", "kind", "shape", "policy", "rule"],
        [[row.node, row.kind, row.shape, row.policy, row.rule] for row in rows],
    )
    read = {found.name: {"place": found.place, "read_as": found.words} for found in plan.findings}
    layers = tuple(layer_weights(plan, graph))
    weights = {one.layer: {"weights": one.count, "weight_bits": one.bit_width} for one in layers}
    document: list[Mapping[str, JsonValue]] = [
        {
            "node": row.node,
            "kind": row.kind,
            "shape": row.shape,
            "policy": row.policy,
            "rule": row.rule,
            **weights.get(row.node, {}),
            **read.get(row.node, {}),
        }
        for row in rows
    ]
    overridden = overridden_in_words(workspace.recipe.quantize.weight.bit_width, weights_by_bits(layers))
    return Report("\n\n".join(filter(None, [findings_table(plan), text, overridden])), document)


def findings_table(plan: QuantPlan) -> str:
    """What was read off the network's code, a row each; empty where nothing was."""
    if not plan.findings:
        return ""
    rows = [[found.name, found.place, found.words] for found in plan.findings]
    return f"Read off the network's code:\n\n{table(['node', 'place', 'read as'], rows)}"


def plan_text(plan: QuantPlan) -> str:
    """plan.yaml."""
    from mdcompress.planning import plan_to_yaml

    return plan_to_yaml(plan)
