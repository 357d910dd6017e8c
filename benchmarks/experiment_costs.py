"""An exported student and its test samples -> the cost of an inference: synaptic operations, spikes, energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from intsnn.activity import measure
from intsnn.estimation.estimation import estimate
from intsnn.graph import IntGraph
from intsnn.hardware import load_hardware
from intsnn.hardware.spec import HardwareSpec, with_sections
from mdcompress.data import Batches
from mdcompress.student import Student
from mdcompress.student.lowering import lower

OPERATIONS, RATE = "synaptic operations", "spike rate, %"
SHIPPED = ("rram_64x64_65nm", "sram_digital")
GATED = ", idle arrays skipped"
EVENTS = "sram_event_driven"  # it reads rows with a spike alone, so there is no idle array to skip
ENERGIES = (*(f"{name}{gating}" for name in SHIPPED for gating in ("", GATED)), EVENTS)  # uJ per inference


def costs(student: Student, batches: Batches, *, steps: int, names: Sequence[str]) -> dict[str, float]:
    """Those of OPERATIONS, RATE and ENERGIES that are named, of the exported graph; means over the samples."""
    graph: IntGraph = lower(student)
    device = student.input.scale.device
    activity = measure(graph, (student.quantize_input(x[:steps].to(device)).cpu().numpy() for x, _ in batches))
    reports = {name: estimate(graph, activity, design) for name, design in _designs().items()}
    operations = reports[ENERGIES[0]].effective_operations
    energies = {name: report.energy_pj * 1e-6 for name, report in reports.items()}
    every = {OPERATIONS: operations, RATE: 100 * activity.mean_rate, **energies}
    return {name: every[name] for name in names}


def _designs() -> Mapping[str, HardwareSpec]:
    """The shipped descriptions as they are, and with arrays that are not read where no row is active."""
    found: dict[str, HardwareSpec] = {}
    for name in (*SHIPPED, EVENTS):
        shipped = load_hardware(name)
        assert isinstance(shipped, HardwareSpec)
        found[name] = shipped
        if name in SHIPPED:
            found[f"{name}{GATED}"] = with_sections(shipped, crossbar={"gating": "array"})
    return found
