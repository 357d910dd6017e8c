"""Every price of the shipped crossbar descriptions beside the published number it comes from.

data/hardware_components.json holds what the named sources publish, each with its place. A price that is not there, or
that this file does not derive, fails the test: no number of a description comes from nowhere.
"""

import json
import math

import pytest

from intsnn.hardware import HardwareSpec
from intsnn.hardware.catalogue import QUANTITIES
from intsnn.hardware.cost import Cost
from tests.support.crossbar_by_hand import hardware_spec
from tests.support.paths import DATA, ROOT

SOURCES = json.loads((DATA / "hardware_components.json").read_text())
SATA, CACTI = SOURCES["digital"]["sata_kernels_400MHz"], SOURCES["memory"]["sram_cacti_lstp"]
Published = dict[tuple[str, str], float | list[float]]  # (component or item, quantity) -> number, or one for each width


def logic() -> Published:
    """SATA's kernels at 2 to 32 bits, and a bit of its AND of 16."""
    names = {"pJ": "energy_pj", "um2": "area_um2", "leak_uW": "leakage_uw"}
    parts = ("adder", "comparator", "register", "multiplier")
    gates = {("product_and", names[key]): SATA["and16"][key] / 16 for key in names}
    return {(part, names[key]): SATA[part][key] for part in parts for key in names} | gates


def memory(nm: int) -> Published:
    """CACTI's 8 KB with a 64-bit port, by the bit."""
    found = CACTI[f"{nm}nm_8KB_w64"]
    return {
        ("memory_read", "energy_pj"): found["read_pJ"] / 64,
        ("memory_write", "energy_pj"): found["write_pJ"] / 64,
        ("memory_bit", "area_um2"): found["area_um2"] / 65536,
        ("memory_bit", "leakage_uw"): found["leak_uW"] / 65536,
    }


def wiring() -> Published:
    """ISAAC's router by the bit of a flit, its bus, SpikeSim's H-tree."""
    lines = SOURCES["interconnect"]
    return {
        ("spike_transfer", "energy_pj"): lines["isaac_router_32nm_256b"][0] / 256,
        ("bus", "energy_pj"): lines["isaac_bus_32nm_per_bit"][0],
        ("tile", "area_um2"): lines["spikesim_htree_um2_per_tile"],
    }


def rram(nm: int) -> Published:
    """Drivers, cells and multiplexers of the two RRAM descriptions; converters: test_converters.py."""
    driver, cell = SOURCES["dac_driver"]["isaac_32nm_1b"], SOURCES["cells"]["rram_neurosim_v14"]
    mean_siemens = (1 / cell["ron"] + 1 / cell["roff"]) / 2
    watts = {65: 0.121272, 22: 0.072341}[nm] * cell["v_read"][str(nm)] / 0.5 * mean_siemens  # SarADC.cpp, LSTP
    multiplexer = SOURCES["adc"]["spikesim_65nm_4b"]
    return {
        ("row_activation", "energy_pj"): driver["energy_per_row"],
        ("row_activation", "area_um2"): driver["area"],
        ("cell_read", "energy_pj"): watts * cell["read_pulse_ns"] * 1e3,
        ("cell_read", "area_um2"): cell["area_F2_1T1R"] * (nm * 1e-3) ** 2,
        ("cell_read", "leakage_uw"): 0,  # non-volatile
        ("cell_read", "latency_ns"): cell["read_pulse_ns"],
        ("mux_switch", "energy_pj"): multiplexer["mux_energy"],
        ("mux_switch", "area_um2"): multiplexer["mux_area"],
    }


def sram() -> Published:
    """Rows as wires, cells as ANDs: 22 nm, 128 columns."""
    area_f2 = SOURCES["cells"]["sram_areas_F2"][">=22nm"]
    row_um = 128 * math.sqrt(area_f2) * 0.022
    return {
        ("row_activation", "energy_pj"): SOURCES["interconnect"]["wire_cap_fF_per_um"] * 1e-3 * row_um * 0.8**2,
        ("cell_read", "energy_pj"): SATA["and16"]["pJ"] / 16,
        ("cell_read", "area_um2"): area_f2 * 0.022**2,
        ("cell_read", "leakage_uw"): CACTI["22nm_8KB_w64"]["leak_uW"] / 65536,
        ("cell_read", "latency_ns"): 0,  # inside the clock of trees and accumulators
    }


def trees() -> Published:
    """The adder, under a name of its own."""
    return {("tree_adder", quantity): number for (part, quantity), number in logic().items() if part == "adder"}


def murmann(bits: int, nm: int) -> tuple[float, float]:
    """The survey's regression (arXiv:2404.06553) at 100 MS/s: pJ and um2 of a converter."""
    sndr, rate = 6.0206 * bits + 1.7609, math.log(1e8)
    fom = min(213.7806687348118 - 2.8719030399529957 * rate, 128.3068287398817 + 3.220511510977 * bits)
    size = 26.0496215686518 + 1.8800369206815004 * math.log(nm) - 2.8291256050594527 * math.log(bits)
    energy = 0.5 * 10 ** ((sndr - fom) / 10) * math.exp(size - 1.4702022133784405)
    area = 1.3461916439910742 + 0.9932794744745022 * math.log(nm) + 0.18071538424508238 * rate
    return energy, math.exp(area + 0.29912426192653485 * math.log(energy))


def writing_rram() -> Published:
    """NVSim's cell in NVMExplorer: a RESET and a SET. Its endurance is no price: test_reloading.py."""
    cell = SOURCES["cells"]["rram_nvmexplorer"]
    return {
        ("cell_write", "energy_pj"): cell["reset_pJ"] + cell["set_pJ"],
        ("cell_write", "latency_ns"): cell["reset_pulse_ns"] + cell["set_pulse_ns"],
    }


def fetching() -> Published:
    """A bit from DRAM, and the time between two on one LPDDR4 die."""
    dram = SOURCES["memory"]["lpddr4_3200_die"]
    return {
        ("weight_fetch", "energy_pj"): SOURCES["neuromorphic"]["yan2024_22nm"]["dram_pJ_per_bit"],
        ("weight_fetch", "latency_ns"): 1e3 / (dram["bits"] * dram["MTps"]),
    }


WRITING_SRAM: Published = {
    ("cell_write", "energy_pj"): CACTI["22nm_8KB_w64"]["write_pJ"] / 64,
    ("cell_write", "latency_ns"): 1e3 / 400,  # a clock
}
IMPULSE: Published = {("membrane_operation", "energy_pj"): [1 / 0.99]}  # arXiv:2105.08217: 0.99 TOPS/W, 11 bits
PUBLISHED = {
    "rram_64x64_65nm": logic() | memory(65) | wiring() | rram(65) | IMPULSE | fetching() | writing_rram(),
    "rram_128x128_22nm": logic() | memory(22) | wiring() | rram(22) | fetching() | writing_rram(),
    "sram_digital": logic() | trees() | memory(22) | wiring() | sram() | fetching() | WRITING_SRAM,
    "sram_event_driven": logic() | memory(22) | wiring() | sram() | fetching() | WRITING_SRAM,
}


def prices(hardware: HardwareSpec) -> Published:
    """Every number of the description that is not scaled, by component or item."""
    written = {**hardware.components, **{name: cost for name, cost in hardware.costs.items() if isinstance(cost, Cost)}}
    found = {(name, quantity): getattr(cost, quantity) for name, cost in written.items() for quantity in QUANTITIES}
    return {
        key: list(price) if isinstance(price, tuple) else price for key, price in found.items() if price is not None
    }


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_every_price_is_the_published_number_of_its_source(name: str) -> None:
    found = prices(hardware_spec(name))
    assert found.keys() == PUBLISHED[name].keys()
    for key, price in found.items():
        assert price == pytest.approx(PUBLISHED[name][key], rel=6e-4), key


@pytest.mark.parametrize("name", ["rram_64x64_65nm", "rram_128x128_22nm"])
def test_the_writes_that_cells_survive_are_those_of_published_memristors(name: str) -> None:
    endurance = hardware_spec(name).crossbar.cell.endurance
    assert endurance is not None
    published = SOURCES["cells"]["endurance_nvmexplorer"]["memristor"]
    assert [endurance.least, endurance.most] == published


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_the_surveys_formula_gives_the_spot_values_that_the_package_gives(bits: int) -> None:
    for nm in (65, 32):
        spot = SOURCES["adc"]["murmann_regression"][f"spot_{nm}nm_100MSps"][str(bits)]
        assert murmann(bits, nm) == pytest.approx(spot, rel=5e-4)


def test_every_description_of_arrays_is_checked() -> None:
    own = {path.stem for path in (ROOT / "export/intsnn/hardware").glob("*.yaml")}
    assert own - {"spikesim", "spikesim_fixed"} == set(PUBLISHED)  # those two: test_spikesim.py, test_descriptions.py
