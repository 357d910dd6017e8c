"""`train`: the float network and data -> teacher.safetensors, the teacher of the distillation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from intsnn.errors import UsageError
from intsnn.pictures import picture_paths
from mdcompress.pipeline.accuracies import float_accuracies_at, in_words, recorded
from mdcompress.pipeline.networks import (
    fresh_network,
    load_splits,
    numbers_read_off,
    require_steps,
    some_names,
    torch_device,
    traced_and_planned,
)
from mdcompress.pipeline.other_teacher import require_other_teacher
from mdcompress.pipeline.report import Report
from mdcompress.pipeline.resuming import refuse_other_trainings, resumable
from mdcompress.pipeline.threads import own_threads_afterwards, use_threads
from mdcompress.pipeline.workspace import Workspace
from mdcompress.runs import TEACHER_FILE, TEACHER_HISTORY_FILE, TEACHER_PICTURE_FILE
from mdcompress.runs.manifest import Stage

if TYPE_CHECKING:
    from torch import nn


@own_threads_afterwards()
def train(workspace: Workspace) -> Report:
    """Train the float network on the recipe's data."""
    if workspace.model.trained is not None:
        raise UsageError(
            f"there is nothing to train: the network has its weights ({workspace.model.trained})",
            hints=[*([] if workspace.model.is_nir else ["leave --weights out"]), "go on with `mdcompress quantize`"],
        )
    with workspace.held(), workspace.listener.stage(Stage.TRAIN.value, "network and data"):
        finished = workspace.processes.broadcast(workspace.has_finished(Stage.TRAIN))  # all decide alike
        return workspace.report(Stage.TRAIN) if finished else _train(workspace)


def _train(workspace: Workspace) -> Report:
    workspace.refuse_to_overwrite(Stage.TRAIN)
    from mdcompress.student.weights import save_weights
    from mdcompress.training import train_network, write_history
    from mdcompress.training.pictures import draw_training

    started = workspace.start(Stage.TRAIN)
    refuse_other_trainings(workspace, started)
    torch_device(workspace)  # a wrong one is said before data are loaded
    require_other_teacher(workspace)  # what `distill` would refuse, likewise
    recipe, own = workspace.recipe, fresh_network(workspace)
    splits = load_splits(workspace)
    network, graph, _ = traced_and_planned(workspace, own, splits)  # what `quantize` would refuse is refused now
    require_steps(workspace, network, graph)
    _note_what_is_not_trained(workspace, network)
    threads = use_threads(workspace, graph)
    with resumable(workspace, started) as training:
        train_network(
            network,
            train=splits.train,
            validate=splits.validation,
            spec=recipe.teacher,
            settings=recipe.train,
            seed=recipe.seed,
            checkpoint=training.checkpoint,
            progress=training.progress,
            device=torch_device(workspace),
            processes=workspace.processes,
        )
    if workspace.writes:
        workspace.listener.doing("test accuracy")
        time_steps = recipe.teacher.time_steps or (recipe.data.time_steps,)
        accuracies = float_accuracies_at(workspace, network, splits, time_steps)
        summary = f"teacher    test accuracy {in_words(accuracies)}"
        with started.writing(measured={**recorded(accuracies), **threads}, summary=summary) as folder:
            save_weights(own, folder / TEACHER_FILE)
            write_history(training.history(), folder / TEACHER_HISTORY_FILE)
            pictures = picture_paths(folder / TEACHER_PICTURE_FILE, workspace.pictures)
            draw_training(training.history(), *pictures, title=f"{recipe.name}: training of the teacher")
    workspace.processes.wait()
    return workspace.report(Stage.TRAIN)


def _note_what_is_not_trained(workspace: Workspace, network: nn.Module) -> None:
    """Of a network whose neurons were read off its code, the parameters that became their numbers."""
    kept = numbers_read_off(network)
    if kept:
        workspace.note(
            f"not trained, as they were read off as numbers: {some_names(kept)} (to train them, use your own script "
            "and give --weights)"
        )
