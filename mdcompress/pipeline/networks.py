"""The float network, its weights and the data of a run, as the recipe names them."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from intsnn.errors import MissingFileError
from mdcompress.errors import MissingDataError, PlanError, TrainingError
from mdcompress.pipeline.workspace import Workspace
from mdcompress.runs import TEACHER_FILE
from mdcompress.runs.manifest import Stage

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from mdcompress.data import Batches, DataSplits
    from mdcompress.graph import SnnGraph
    from mdcompress.planning import QuantPlan
    from mdcompress.tracing.conventions import Fitted

TRACED_SAMPLES = 2  # two, so that a batch can be told from a single sample


def load_splits(workspace: Workspace) -> DataSplits:
    """The recipe's data."""
    workspace.agree("data.name")
    from mdcompress.data import load_data

    compute, recipe = workspace.compute, workspace.recipe
    return load_data(
        recipe.data,
        seed=recipe.seed,
        folder=compute.data_folder,
        download=compute.download,
        consent=workspace.consent,
    )


def load_or_describe(workspace: Workspace) -> DataSplits:
    """The recipe's data; where they are not there and the set's name says their shape, a stand-in, which is said."""
    from mdcompress.data.described import described

    try:
        return load_splits(workspace)
    except MissingDataError as error:
        splits = described(workspace.recipe.data, seed=workspace.recipe.seed)
        if splits is None:
            raise
        workspace.note_once(f"{str(error).splitlines()[0]}; shapes are those of the set's description")
        return splits


def fresh_network(workspace: Workspace) -> nn.Module:
    """The network of a `.nir` file, or as its factory makes it; its first weights depend on the recipe's seed alone.

    Raises:
        TraceError: one of its neurons has no integer form, before any work is done on it.
    """
    workspace.agree("model.builder")
    from mdcompress.adapters import find_neurons
    from mdcompress.nir import from_nir
    from mdcompress.tracing import check_values
    from mdcompress.tracing.unwrapping import unwrapped
    from mdcompress.zoo.builders import build_network

    device, model = torch_device(workspace), workspace.model
    if model.is_nir:
        return from_nir(model.builder, model.nir).to(device)
    with seeded(workspace.recipe.seed):
        network = build_network(model.builder, consent=workspace.consent)
        check_values(network)
        network.to(device)
    find_neurons(unwrapped(network))
    return network


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch draws from `seed` inside and goes on as before afterwards.

    Whatever makes layers draws, even where trained weights replace the draw: the last bit of a scale may depend on it.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def teacher_weights(workspace: Workspace) -> Path:
    """The checkpoint of the float network: the one the recipe names, the `.nir` file, or what `train` wrote."""
    named = workspace.model.trained
    if named is None:
        workspace.require(Stage.TRAIN)
        return workspace.run.file(TEACHER_FILE)
    if not Path(named).is_file():
        if workspace.model.weights is None:
            raise MissingFileError(
                f"{named}: the NIR file must be there (no such file)", hints=["give another path with --model"]
            )
        raise MissingFileError(
            f"{named}: the weights of the float network must be there (no such file)",
            hints=["give another path with --weights", "or set model.weights to null to train the network first"],
        )
    return Path(named)


def trained_network(workspace: Workspace, weights: Path) -> nn.Module:
    """The float network with its weights, in evaluation mode; what was taken out of a checkpoint is said."""
    from mdcompress.modes import to_evaluation_mode
    from mdcompress.student.weights import load_weights

    network = fresh_network(workspace)
    if not workspace.model.is_nir or workspace.model.weights is not None:
        loaded = load_weights(network, weights)
        if str(loaded):
            workspace.listener.note(f"{weights}: {loaded}")
    network.to(torch_device(workspace))
    to_evaluation_mode(network)
    return network


def fitted(workspace: Workspace, network: nn.Module, splits: DataSplits) -> Fitted:
    """The user's network as one of [T, N, ...], with its trace; how it is called is said, and what was read off it."""
    from mdcompress.tracing.conventions import fit

    workspace.listener.doing("tracing")
    sample = first_samples(splits.train, TRACED_SAMPLES, seed=workspace.recipe.seed)
    found = fit(network, sample.to(torch_device(workspace)))
    if found.convention:
        read = read_off(found)
        listed = f"; {read} (listed by --dry-run, and in plan.yaml)" if read else ""
        workspace.note_once(f"the network of {workspace.model.builder} {found.convention}{listed}")
    return found


def read_off(found: Fitted) -> str:
    """`3 neurons were read off its code`; empty where classes said all."""
    from mdcompress.graph import NeuronModel

    neurons = {node.name for node in found.graph.of(NeuronModel)}
    count = len({finding.name for finding in found.findings} & neurons)
    if not count:
        return ""
    return f"{count} neurons were read off its code" if count > 1 else "1 neuron was read off its code"


def numbers_read_off(network: nn.Module) -> tuple[str, ...]:
    """Of a network whose neurons were read off its code, the trained parameters that became their numbers."""
    from mdcompress.lifting import Lifted

    if not isinstance(network, Lifted):
        return ()
    trained = {name for name, parameter in network.source.named_parameters() if parameter.requires_grad}
    return tuple(sorted(trained & network.constants))


def numbers_of_neurons(found: Fitted) -> tuple[str, ...]:
    """The trained parameters of a float network that a student has as numbers of its neurons: leaks, thresholds."""
    from torch.nn import Parameter

    from mdcompress.graph import NeuronModel
    from mdcompress.modes import tensors_of

    neurons = {node.module for node in found.graph.of(NeuronModel)}
    others = {node.module for node in found.graph} - neurons
    own = (
        name
        for name, tensor in tensors_of(found.network).items()
        if isinstance(tensor, Parameter) and tensor.requires_grad and _owner(name, neurons | others) in neurons
    )
    return tuple(sorted({*numbers_read_off(found.network), *own}))


def _owner(parameter: str, modules: Collection[str]) -> str | None:
    """The innermost of the modules that a parameter is in, by its name."""
    inside = (module for module in modules if parameter.startswith(f"{module}."))
    return max(inside, key=len, default=None)


def some_names(names: Sequence[str]) -> str:
    """The first five, and how many more there are."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{', '.join(names[:5])}{more}"


def traced_and_planned(
    workspace: Workspace, own: nn.Module, splits: DataSplits
) -> tuple[nn.Module, SnnGraph, QuantPlan]:
    """The user's network as one of [T, N, ...], its graph, and the policy of each node.

    Raises:
        TraceError: the network cannot be read.
        PlanError: the recipe does not fit the network.
    """
    from mdcompress.graph import NeuronModel
    from mdcompress.planning import plan

    found = fitted(workspace, own, splits)
    if not found.graph.of(NeuronModel):
        raise PlanError(
            f"the network has no spiking neuron ({workspace.model.builder})",
            hints=["put one behind each layer but the last, for example mdcompress.zoo.LIF instead of nn.ReLU"],
        )
    return found.network, found.graph, plan(workspace.recipe, found.graph).with_findings(found.findings)


def at_steps(workspace: Workspace, network: nn.Module, splits: DataSplits, steps: int) -> nn.Module:
    """A trained network [T, N, ...] at T = `steps`: where they are fewer than those of the data, with their statistics.

    They are measured on the calibration samples.
    """
    from mdcompress.calibration.norm_statistics import with_statistics
    from mdcompress.data import calibration
    from mdcompress.data.inputs import on_device

    recipe = workspace.recipe
    if steps == recipe.data.time_steps:
        return network
    device = torch_device(workspace)
    samples = calibration(splits, recipe.data.calibration_samples, seed=recipe.seed)
    return with_statistics(network, [on_device(x[:steps], device) for x, _ in samples])


def require_steps(workspace: Workspace, network: nn.Module, graph: SnnGraph) -> None:
    """TrainingError where a network [T, N, ...] with that trace does not run on each T of teacher.time_steps."""
    import torch

    from mdcompress.adapters.state import run_fresh
    from mdcompress.evaluation import mean_logits
    from mdcompress.modes import evaluating

    for steps in workspace.recipe.teacher.time_steps or ():
        x, fault = torch.zeros(steps, TRACED_SAMPLES, *graph.input.shape, device=torch_device(workspace)), ""
        try:
            with torch.no_grad(), evaluating(network):
                shape = list(mean_logits(run_fresh(network, x)).shape)
            if len(shape) != 2 or shape[0] != TRACED_SAMPLES:
                fault = f"for {TRACED_SAMPLES} samples it returns logits {shape}"
        except Exception as error:  # whatever the user's own forward raises
            fault = f"{type(error).__name__}: {error}"
        if fault:
            raise TrainingError(
                f"teacher.time_steps: the network must run on {steps} of {graph.time_steps} steps too ({fault})",
                hints=[
                    "let its forward take the number of steps from its input: for x_t in x",
                    "or leave teacher.time_steps out: it is then trained for all steps only",
                ],
            )


def torch_device(workspace: Workspace) -> torch.device:
    """The device of --device; UsageError where this machine or this torch does not have it."""
    from mdcompress.training.devices import usable_device

    name = workspace.processes.device if workspace.processes.size > 1 else workspace.compute.device
    return usable_device(name, option="--device")


def first_samples(batches: Batches, samples: int, *, seed: int) -> Tensor:
    """At most `samples` samples as one tensor [T, N, ...]."""
    import torch

    return torch.cat([x for x, _ in batches.first(samples, seed=seed)], dim=1)
