"""Energy, latency, area and batch -> the time of an inference, EDP and EDAP: one place for all that have these."""

from __future__ import annotations

from typing import Protocol


class _Totals(Protocol):
    """What these are worked out from; the time is here too, so that the products say what they are."""

    @property
    def energy_pj(self) -> float: ...

    @property
    def latency_ns(self) -> float: ...

    @property
    def area_um2(self) -> float: ...

    @property
    def batch(self) -> int: ...

    @property
    def inference_time_ns(self) -> float: ...

    @property
    def edp_pj_ns(self) -> float: ...


class PerInference:
    """What follows from energy_pj of an inference, latency_ns of a `batch` of them, and area_um2."""

    @property
    def inference_time_ns(self: _Totals) -> float:
        """What an inference takes of the latency, ns: all of it, of a batch its share. What comparisons use."""
        return self.latency_ns / self.batch

    @property
    def edp_pj_ns(self: _Totals) -> float:
        """Energy x time per inference, pJ*ns."""
        return self.energy_pj * self.inference_time_ns

    @property
    def edap_pj_ns_um2(self: _Totals) -> float:
        """Energy x time per inference x area, pJ*ns*um2."""
        return self.edp_pj_ns * self.area_um2
