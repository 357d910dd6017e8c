"""The price of a counted item: numbers as their source publishes them, or the converter survey's curve."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Literal, Self, assert_never

from pydantic import Field, model_validator

from intsnn.errors import HardwareError
from intsnn.hardware.catalogue import QUANTITIES, Quantity
from intsnn.hardware.survey import Survey, curve
from intsnn.yaml.file import Physical, PhysicalOrZero, RuleError, StrictModel, Text

Price = PhysicalOrZero | tuple[PhysicalOrZero, ...]
_LEAKS = "part of energy_pj, of which it is 20 %; an idle converter is taken as switched off"  # as hwcomponents-adc


class Scaling(StrictModel):
    """Factors from the published numbers to this technology, and the rule they come from."""

    rule: Text
    energy: Physical = 1.0
    area: Physical = 1.0
    leakage: Physical = 1.0
    latency: Physical = 1.0


class Cost(StrictModel):
    """Price of an item as its source publishes it; with `bits`, each price is a list over those widths.

    interpolation between widths: `linear` and `quadratic` in bits, extended in proportion beyond the table's ends;
    `inside` is linear and an error beyond them. missing: the quantities the source does not give, each with a reason.
    survey: of a converter, in place of bits, prices, interpolation and missing: the survey's curve (survey.py).
    """

    energy_pj: Price | None = None
    area_um2: Price | None = None
    leakage_uw: Price | None = None
    latency_ns: Price | None = None
    bits: Annotated[tuple[Physical, ...], Field(min_length=1)] | None = None
    interpolation: Literal["linear", "quadratic", "inside"] | None = None
    missing: Mapping[Quantity, Text] = {}
    survey: Survey | None = None
    scaling: Scaling | None = None
    source: Text

    @model_validator(mode="after")
    def _tables_fit(self) -> Self:
        if self.survey is not None:
            self._refuse_beside_a_survey()
        for quantity in QUANTITIES:
            price = getattr(self, quantity)
            if isinstance(price, tuple) and (self.bits is None or len(price) != len(self.bits)):
                message = f"must have one number for each of `bits` (got {len(price)} for {len(self.bits or ())})"
                raise RuleError(message, field=quantity, hint="write bits: [...] and lists of its length")
            if (price is not None) and quantity in self.missing:
                raise RuleError(f"{quantity} is both given and missing", field="missing", hint="remove one of them")
        if (self.bits is None) != (self.interpolation is None):
            raise RuleError("bits and interpolation go together", hint="give both, or neither for one price")
        if self.bits is not None and any(low >= high for low, high in zip(self.bits, self.bits[1:], strict=False)):
            raise RuleError("must rise from entry to entry", field="bits", hint="sort the widths, without repeats")
        return self

    def _refuse_beside_a_survey(self) -> None:
        given = [key for key in (*QUANTITIES, "bits", "interpolation", "scaling") if getattr(self, key) is not None]
        if given or self.missing:
            key = (*given, "missing")[0]
            message = f"the survey gives every number: {key} must not stand beside it"
            raise RuleError(message, field=key, hint=f"remove {key}, or remove survey and write tables")

    def tabled(self, node_nm: float) -> Cost:
        """The price in numbers: itself, or the survey's curve at the node that it names, else at this one."""
        return self if self.survey is None else _tabled(self.survey, node_nm, self.source)

    def factor(self, quantity: Quantity) -> float:
        """Factor from the published number to this technology."""
        if self.scaling is None:
            return 1.0
        match quantity:
            case "energy_pj":
                return self.scaling.energy
            case "area_um2":
                return self.scaling.area
            case "leakage_uw":
                return self.scaling.leakage
            case "latency_ns":
                return self.scaling.latency
            case _:
                assert_never(quantity)

    def at(self, quantity: Quantity, bits: float | None, *, name: str) -> float | None:
        """The scaled price of an event or instance at a width; None where the quantity is missing.

        Args:
            quantity: pJ of an event, um2 or uW of an instance, ns of a timed event.
            bits: the width; it matters where the price is a table.
            name: what is priced, for the message.

        Raises:
            HardwareError: the width lies outside a table that must not be extended.
        """
        published: Price | None = getattr(self, quantity)
        if published is None:
            return None
        number = self._at_width(published, bits, name) if isinstance(published, tuple) else float(published)
        return number * self.factor(quantity)

    def _at_width(self, published: tuple[float, ...], bits: float | None, name: str) -> float:
        assert bits is not None and self.bits is not None, f"{name}: a table over bits needs a width"
        power = 2 if self.interpolation == "quadratic" else 1
        low, high = self.bits[0], self.bits[-1]
        if self.interpolation == "inside" and not low <= bits <= high:
            raise HardwareError(
                f"{name} is priced from {low:g} to {high:g} bits (got {bits:g})",
                hints=["choose a width inside the table, or add this width with its source"],
            )
        if bits < low:
            return published[0] * (bits / low) ** power
        if bits > high:
            return published[-1] * (bits / high) ** power
        place = bisect_left(self.bits, bits)
        if self.bits[place] == bits:
            return float(published[place])
        below, above = self.bits[place - 1] ** power, self.bits[place] ** power
        slope = (published[place] - published[place - 1]) / (above - below)
        return slope * (bits**power - below) + published[place - 1]


@cache
def _tabled(survey: Survey, node_nm: float, source: str) -> Cost:
    found = curve(survey, node_nm)
    return Cost(
        bits=found.bits,
        energy_pj=found.energy_pj,
        area_um2=found.area_um2,
        latency_ns=1000 / survey.rate_msps,
        interpolation="inside",
        missing={"leakage_uw": _LEAKS},
        source=f"{source} ({found.words})",
    )
