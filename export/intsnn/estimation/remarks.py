"""A mapping and its activity -> the sentences that a report must say beside its figures."""

from __future__ import annotations

import math
from collections.abc import Mapping as ByReadout
from typing import assert_never

from intsnn.activity import Activity
from intsnn.estimation.costs import EnergyPart
from intsnn.estimation.gating import FloatArray, active_reads, converted_reads, every_read
from intsnn.hardware.catalogue import Item
from intsnn.hardware.chip import Gating, Readout
from intsnn.mapping import LayerMapping, Mapping
from intsnn.mapping.mapping import array_um2
from intsnn.shares import percent

ASSUMED = (
    "Assumed, not measured: every neuron fires at one rate, independently; inputs of one bit are active at that rate, "
    "wider ones uniform over their range."
)
CHANGING_INPUT = (
    "The input is assumed to change from step to step: `--constant-input` (in Python `constant_input=True`) is for a "
    "still image, whose sums a chip can hold."
)
STILL_INPUT = "The input is assumed to be the same in every step."
_WHATEVER_IS_ACTIVE: ByReadout[Readout, str] = {
    "converter": "a column is read whether one row is active or all are",
    "adder_tree": "a column is read whether one row is active or all are",
    "accumulator": "a row that is not active is not read, but has its clock",
}
_LEAST_SHARE = 0.0005  # below it percent writes 0.0 %
_LOW_UTILISATION = 0.1  # below this share of used cells a note says so


def remarks(mapping: Mapping, activity: Activity, energy: tuple[EnergyPart, ...]) -> tuple[str, ...]:
    """How much is built, what is not exact, what sparsity saves, and what the description itself remarks."""
    crossbar = mapping.hardware.crossbar
    notes = [f"{mapping.arrays:,} arrays in {mapping.pes:,} PEs on {mapping.tiles:,} tiles."]
    notes += assumed_in_words(activity)
    copied = [f"{layer.name} x {layer.copies}" for layer in mapping.layers if layer.copies > 1]
    if copied:
        notes.append(f"Copies that work side by side: {', '.join(copied)}.")
    if mapping.reload is not None:
        taken = sum(layer.arrays for layer in mapping.layers)
        notes.append(
            f"One copy of every layer takes {taken:,} arrays: {len(mapping.groups)} groups of layers take turns, each "
            f"loaded for {mapping.reload.samples:,} inference{'s' if mapping.reload.samples > 1 else ''} at a time."
        )
    if mapping.hardware.duplication.is_area:
        taken_mm2 = mapping.arrays * array_um2(mapping.hardware) * 1e-6
        notes.append(
            f"The budget of {mapping.hardware.duplication.arrays} is the area of the arrays alone, of which these take "
            f"{taken_mm2:.4g} mm2: tiles, buffers, lanes and wires come on top."
        )
    if crossbar.resolution < crossbar.lossless_adc_bits:
        notes.append(
            f"Converters have {crossbar.resolution} bits, exact column sums need {crossbar.lossless_adc_bits}: a chip "
            "with these figures does not compute the graph's integers exactly."
        )
    notes += [*_ends(mapping, energy), _sparsity(mapping, activity, energy)]
    sparse = [layer.name for layer in mapping.layers if layer.utilisation < _LOW_UTILISATION]
    if sparse:
        notes.append(f"Less than {percent(_LOW_UTILISATION, 0)} of the cells are used in: {', '.join(sparse)}.")
    spread = [layer.name for layer in mapping.layers if layer.windows < layer.positions]
    if spread:
        notes.append(
            "Transposed convolutions lie as convolutions over their input with zeros between its values; unless idle "
            f"arrays are skipped, those that see such zeros only are converted like any other: {', '.join(spread)}."
        )
    return (*notes, *mapping.hardware.remarks)


def assumed_in_words(activity: Activity) -> tuple[str, ...]:
    """What an assumed activity takes for granted, of the input too; nothing of a measured one."""
    if activity.source == "measured":
        return ()
    if activity.time_steps == 1:
        return (ASSUMED,)
    return (ASSUMED, STILL_INPUT if activity.constant_input else CHANGING_INPUT)


def idle_share(layer: LayerMapping, activity: Activity) -> float:
    """Share of the layer's array reads that see no active row."""
    seen = activity.synapse(layer.name)
    every = every_read(layer, activity.time_steps)
    return float(1 - active_reads(layer, seen).arrays.sum() / every.arrays.sum())


def _ends(mapping: Mapping, energy: tuple[EnergyPart, ...]) -> list[str]:
    """What the layers that read the input take of the energy, and the last one; nothing of a network of one layer."""
    if len(mapping.layers) < 2:
        return []
    whole = math.fsum(part.energy_pj for part in energy)
    first, last = mapping.layers[0], mapping.layers[-1]
    bits = "1 bit" if first.input_bits == 1 else f"{first.input_bits} bits, one read for each"
    held = ", in the first step alone" if first.held_steps > 1 else ""
    shares = [_at_least(_share(energy, layer, whole)) for layer in (first, last)]
    return [
        f"First and last layer: {first.name}, whose input has {bits}{held}, takes {shares[0]} of the energy, "
        f"{last.name} takes {shares[1]}. {_what_lowers(first)}"
    ]


def _at_least(share: float) -> str:
    """A share that is not 0 is never written as 0."""
    return "less than 0.1 %" if 0 < share < _LEAST_SHARE else percent(share, 1)


def _what_lowers(first: LayerMapping) -> str:
    """An input of one bit has none to give."""
    if first.input_bits == 1:
        return "Fewer bits of their weights lower both."
    return "Fewer bits of the input and of their weights lower both."


def _share(energy: tuple[EnergyPart, ...], layer: LayerMapping, whole: float) -> float:
    return math.fsum(part.energy_pj for part in energy if part.node == layer.name) / whole


def _sparsity(mapping: Mapping, activity: Activity, energy: tuple[EnergyPart, ...]) -> str:
    whole = math.fsum(part.energy_pj for part in energy)
    crossbar, neuron = mapping.hardware.crossbar, mapping.hardware.neuron
    counted = (item for item in Item if item.meaning.is_counted(crossbar, neuron))
    per_row = {item.value: item.meaning.per_active_row for item in counted if item.meaning.per_active_row}
    following = math.fsum(part.energy_pj for part in energy if part.component in per_row)
    left = {gating: _column_reads_left(mapping, activity, gating) for gating in ("pe", "array")}
    could = (
        f"Skipping idle PEs leaves {percent(left['pe'])} of the column reads, skipping idle arrays "
        f"{percent(left['array'])}"
    )
    match crossbar.gating:
        case "none":
            done = "neither is done here"
        case "pe":
            done = "this hardware skips idle PEs"
        case "array":
            done = "this hardware skips idle arrays"
        case gating:
            assert_never(gating)
    parts = ", ".join(per_row.values())
    return (
        f"What sparsity saves: {percent(following / whole, 1)} of the energy ({parts}) is spent for each active row; "
        f"{_WHATEVER_IS_ACTIVE[crossbar.readout]}. "
        f"{could} ({_known(mapping, activity)}); {done}. No read is shorter for fewer spikes: sparsity saves no time."
    )


def _column_reads_left(mapping: Mapping, activity: Activity, gating: Gating) -> float:
    """Column reads under a gating over column reads without, of the steps in which each layer's arrays are read."""
    return _column_reads(mapping, activity, gating) / _column_reads(mapping, activity, "none")


def _column_reads(mapping: Mapping, activity: Activity, gating: Gating) -> float:
    return math.fsum(float(_arrays_read(layer, activity, gating).sum()) * layer.converted for layer in mapping.layers)


def _arrays_read(layer: LayerMapping, activity: Activity, gating: Gating) -> FloatArray:
    reads = converted_reads(layer, activity.synapse(layer.name), gating).arrays
    return reads[: layer.read_steps(activity.time_steps)]


def _known(mapping: Mapping, activity: Activity) -> str:
    estimated = [
        layer.name
        for layer in mapping.layers
        if active_reads(layer, activity.synapse(layer.name)).known_by == "estimate"
    ]
    if not estimated:
        return "counted from the spikes"
    whole = len(estimated) == len(mapping.layers)
    return f"estimated from the row rate, rows independent{'' if whole else ', in ' + ', '.join(estimated)}"
