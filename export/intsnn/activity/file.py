"""An activity <-> activity.json, checked when it is read."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from intsnn.activity.activity import Activity, NeuronActivity, ProductActivity, SynapseActivity
from intsnn.activity.occupancy import Cut, Occupancy
from intsnn.errors import reading
from intsnn.files import write_atomically
from intsnn.yaml.file import RuleError, StrictModel, read_yaml

ACTIVITY_SCHEMA = "intsnn.activity/1"


def write_activity(activity: Activity, path: str | Path) -> None:
    """Write activity.json, whole or not at all.

    Args:
        activity: measured or assumed.
        path: of the file; its folder must exist.

    Raises:
        MissingFileError: the folder does not exist.
    """
    text = json.dumps({"schema": ACTIVITY_SCHEMA, **asdict(activity)}, indent=1) + "\n"
    write_atomically(path, text.encode())


def read_activity(path: str | Path) -> Activity:
    """Read activity.json.

    Args:
        path: of the file.

    Returns:
        The activity; `estimate` holds it to the graph that it was measured on.

    Raises:
        MissingFileError: there is no such file.
        InvalidFileError: with every fault and its place.
    """
    with reading(path, f"a file of {ACTIVITY_SCHEMA}"):
        file = read_yaml(
            Path(path), _ActivityFile, schema=ACTIVITY_SCHEMA
        )  # JSON is YAML, and this reader knows the places
        parts = {
            "neurons": tuple(NeuronActivity(**dict(neuron)) for neuron in file.neurons),
            "synapses": tuple(_read_synapse(entry) for entry in file.synapses),
            "products": tuple(ProductActivity(**dict(product)) for product in file.products),
        }
        return Activity(**{**dict(file), **parts})


def _read_synapse(entry: _SynapseEntry) -> SynapseActivity:
    found = tuple(Occupancy(**{**dict(one), "cut": Cut(**dict(one.cut))}) for one in entry.occupancy)
    return SynapseActivity(**{**dict(entry), "occupancy": found})


NotNegativeSteps = Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)]


class _NeuronEntry(StrictModel):
    name: str
    size: Annotated[int, Field(ge=1)]
    spikes: NotNegativeSteps


class _CutEntry(StrictModel):
    mapping: Literal["kernel_split", "im2col"]
    rows: Annotated[int, Field(ge=1)]
    groups: Annotated[int, Field(ge=1)]


class _OccupancyEntry(StrictModel):
    cut: _CutEntry
    arrays: NotNegativeSteps
    pes: NotNegativeSteps
    outputs: NotNegativeSteps


class _SynapseEntry(StrictModel):
    name: str
    size: Annotated[int, Field(ge=1)]
    active_inputs: NotNegativeSteps
    row_activations: NotNegativeSteps
    row_pulses: NotNegativeSteps
    input_sum: Annotated[tuple[float, ...], Field(min_length=1)]
    occupancy: tuple[_OccupancyEntry, ...] = ()


class _ProductEntry(StrictModel):
    name: str
    sizes: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
    active_left: NotNegativeSteps
    active_right: NotNegativeSteps
    active_pairs: NotNegativeSteps


class _ActivityFile(StrictModel):
    model_config = ConfigDict(title="activity file")

    source: Literal["measured", "assumed"]
    samples: Annotated[int, Field(ge=0)]
    time_steps: Annotated[int, Field(ge=1)]
    graph: str
    neurons: tuple[_NeuronEntry, ...]
    synapses: tuple[_SynapseEntry, ...]
    products: tuple[_ProductEntry, ...] = ()
    constant_input: bool = False  # files of before say nothing

    @model_validator(mode="after")
    def _every_step_is_there(self) -> Self:
        lists = [neuron.spikes for neuron in self.neurons]
        for one in self.synapses:
            lists += [one.active_inputs, one.row_activations, one.row_pulses, one.input_sum]
            lists += [steps for found in one.occupancy for steps in (found.arrays, found.pes, found.outputs)]
        for product in self.products:
            lists += [product.active_left, product.active_right, product.active_pairs]
        for steps in lists:
            if len(steps) != self.time_steps:
                message = f"every list of counts must have {self.time_steps} steps (got {len(steps)})"
                raise RuleError(message, field="time_steps", hint="measure the activity again")
        return self
