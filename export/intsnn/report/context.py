"""A report -> figures to hold beside it: what SpikeSim's formulas give, and the arithmetic-only proxy of the papers.

Proxy, as most SNN papers quote it (Horowitz, ISSCC 2014, 45 nm, 0.9 V, 32-bit floating point):

    AC  = one addition 0.9 pJ,   MAC = multiplication 3.7 pJ + addition 0.9 pJ = 4.6 pJ
    SNN = AC * synaptic operations of spikes + MAC * synaptic operations of multi-bit inputs
    ANN = MAC * weight x input pairs of one pass

It knows no memory, converter, wire or bit width: it says how many operations there are, not what a chip takes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from intsnn.arithmetic import word_bits
from intsnn.errors import HardwareError
from intsnn.estimation.report import Basis, Figure, HardwareReport, Unavailable, time_key
from intsnn.estimation.spikesim.estimation import estimate_by_spikesim
from intsnn.graph.bounds import read_bounds
from intsnn.hardware.loading import load_spikesim
from intsnn.hardware.spikesim_spec import SPIKESIM_SCHEMA

ADDITION_PJ = 0.9  # Horowitz, ISSCC 2014, figure 1.1.9: 32-bit floating-point addition at 45 nm
MULTIPLICATION_PJ = 3.7  # the same table, 32-bit floating-point multiplication
PROXY_SOURCE = "Horowitz, ISSCC 2014, 45 nm, 0.9 V, 32-bit floating point"


@dataclass(frozen=True)
class ArithmeticProxy:
    """Arithmetic only, pJ: the spiking network's inference, and one pass of a network of its shape with real values."""

    snn_pj: float
    ann_pj: float
    additions: float
    multiply_additions: float

    @property
    def ratio(self) -> float:
        """ANN / SNN.

        Raises:
            HardwareError: no neuron fires.
        """
        if self.snn_pj == 0:
            raise HardwareError("the ratio needs synaptic operations (got 0)", hints=["give inputs that are not all 0"])
        return self.ann_pj / self.snn_pj


@dataclass(frozen=True)
class SpikeSimFigure:
    """One total: SpikeSim's, this report's (each may be unavailable), and the unit of both."""

    key: str
    label: str
    unit: str
    spikesim: Figure
    here: Figure

    @property
    def ratio(self) -> Figure:
        """This report's over SpikeSim's."""
        if isinstance(self.spikesim, Unavailable):
            return self.spikesim
        return self.here if isinstance(self.here, Unavailable) else self.here / self.spikesim


def arithmetic_proxy(report: HardwareReport) -> ArithmeticProxy | None:
    """The proxy; None where the report does not know its graph."""
    if report.basis is None:
        return None
    widths = _input_bits(report.basis)
    additions = math.fsum(node.effective_operations for node in report.nodes if widths.get(node.name) == 1)
    multiplied = math.fsum(node.effective_operations for node in report.nodes if widths.get(node.name, 1) > 1)
    mac_pj = ADDITION_PJ + MULTIPLICATION_PJ
    return ArithmeticProxy(
        snn_pj=additions * ADDITION_PJ + multiplied * mac_pj,
        ann_pj=_pairs_of_a_pass(report, report.basis) * mac_pj,
        additions=additions,
        multiply_additions=multiplied,
    )


def spikesim_scope(report: HardwareReport) -> str:
    """What SpikeSim's figures cover, and that the technology differs where it does."""
    theirs, here = load_spikesim().technology, report.technology
    covered = f"its formulas for the convolutions of this graph, at {theirs.node_nm:g} nm and {theirs.clock_mhz:g} MHz"
    same = (theirs.node_nm, theirs.clock_mhz) == (here.node_nm, here.clock_mhz)
    other = (
        "" if same else f"; here {here.node_nm:g} nm and {here.clock_mhz:g} MHz, so the ratio compares technologies too"
    )
    return f"{covered}{other}; it knows no spikes, bit widths or linear layers"


def spikesim_figures(report: HardwareReport) -> tuple[SpikeSimFigure, ...] | Unavailable:
    """Energy, latency and area beside those of SpikeSim's formulas for the graph's convolutions."""
    if report.basis is None:
        return Unavailable("the report does not know the graph it was computed from")
    rules = load_spikesim()
    if report.hardware == rules.name:
        return Unavailable(f"these are SpikeSim's figures ({SPIKESIM_SCHEMA})")
    try:
        theirs = estimate_by_spikesim(report.basis.graph, report.basis.activity, rules)
    except HardwareError as error:
        return Unavailable(error.message, error.hints)
    wanted = ("energy_pj", time_key(report, theirs), "area_um2")
    here = {total.key: total for total in report.totals()}
    there = {total.key: total for total in theirs.totals()}
    return tuple(
        SpikeSimFigure(key, here[key].label, here[key].unit, there[key].figure, here[key].figure) for key in wanted
    )


def _pairs_of_a_pass(report: HardwareReport, basis: Basis) -> float:
    """Weight x input pairs, and pairs of activations, of one step in which everything is computed."""
    if basis.mapping is None:
        return report.dense_operations / 2 / report.workload.time_steps
    products = sum(node.pairs for node in basis.mapping.digital)
    return float(products + sum(layer.synaptic_operations for layer in basis.mapping.layers))


def _input_bits(basis: Basis) -> Mapping[str, int]:
    """Bits of what each synapse reads, of a matrix product those of its narrower operand: 1 for spikes."""
    if basis.mapping is None:
        return {name: word_bits(interval) for name, interval in read_bounds(basis.graph).items()}
    products = {
        node.name: min(operand.bits for operand in node.operands) for node in basis.mapping.digital if node.pairs
    }
    return {layer.name: layer.input_bits for layer in basis.mapping.layers} | products
