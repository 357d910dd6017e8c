"""The network that a recipe names to learn from, besides the float network of the student: built, with its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from intsnn.errors import MissingFileError
from mdcompress.pipeline.networks import TRACED_SAMPLES, first_samples, seeded, torch_device
from mdcompress.pipeline.workspace import Workspace

if TYPE_CHECKING:
    import torch
    from torch import nn

    from mdcompress.data import DataSplits
    from mdcompress.recipe import OtherTeacherSpec
    from mdcompress.training import OtherTeacher

OTHER_ACCURACY = "other_teacher_test_accuracy"
KEY = "distill.teacher.builder"


def other_teacher_weights(workspace: Workspace) -> tuple[Path, ...]:
    """The file of its weights, if there is one; consent to its code is asked for here, before any work.

    Raises:
        MissingFileError: there is no such file.
        UsageError: the user does not agree.
    """
    spec = workspace.recipe.distill.teacher
    if spec is None:
        return ()
    workspace.agree(KEY)
    if spec.weights is None:
        return ()
    if not Path(spec.weights).is_file():
        raise MissingFileError(
            f"{spec.weights}: the weights of the other teacher must be there (no such file)",
            hints=["give another path in distill.teacher.weights", "or null, where its function loads them"],
        )
    return (Path(spec.weights),)


def require_other_teacher(workspace: Workspace) -> None:
    """What would end a distillation by the other teacher, said before any work: its code, its weights."""
    spec = workspace.recipe.distill.teacher
    if spec is not None and workspace.recipe.distill.epochs:
        other_teacher_weights(workspace)
        _built(workspace, spec)


def other_teacher(workspace: Workspace, splits: DataSplits) -> OtherTeacher | None:
    """The other teacher; None where the recipe names none.

    Where membranes or rates are compared it comes as a network of [T, N, ...], however its owner calls it.
    """
    from mdcompress.tracing.conventions import fit
    from mdcompress.training import OtherTeacher

    recipe = workspace.recipe
    spec = recipe.distill.teacher
    if spec is None:
        return None
    network = _built(workspace, spec)
    if recipe.distill.membrane is None and recipe.distill.rates is None:
        return OtherTeacher(network, spec.reads)
    sample = first_samples(splits.train, TRACED_SAMPLES, seed=recipe.seed)
    return OtherTeacher(fit(network, sample.to(torch_device(workspace))).network, spec.reads, spec.neurons)


def accuracy_of_other(other: OtherTeacher | None, splits: DataSplits, device: torch.device) -> dict[str, float]:
    """Its accuracy on the test split by OTHER_ACCURACY, the key in the run's record; nothing where there is none."""
    from mdcompress.evaluation import evaluate

    if other is None:
        return {}
    there = other.on(device)
    found = evaluate(there.network, splits.test, answer=lambda x, _, steps: there.answer(x[:steps]))
    return {OTHER_ACCURACY: found.accuracy}


def _built(workspace: Workspace, spec: OtherTeacherSpec) -> nn.Module:
    from mdcompress.modes import to_evaluation_mode
    from mdcompress.student.weights import load_weights
    from mdcompress.tracing.unwrapping import unwrapped
    from mdcompress.zoo.builders import build_network

    with seeded(workspace.recipe.seed):
        network = unwrapped(build_network(spec.builder, consent=workspace.consent, key=KEY))
    if spec.weights is not None:
        loaded = load_weights(network, Path(spec.weights))
        if str(loaded):
            workspace.note_once(f"{spec.weights}: {loaded}")
    network.to(torch_device(workspace))
    to_evaluation_mode(network)
    return network
