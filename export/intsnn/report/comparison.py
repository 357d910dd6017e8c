"""Two hardware reports -> both absolute figures and their ratio, side by side, with what the comparison assumes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from intsnn.errors import HardwareError, UsageError
from intsnn.estimation.report import Figure, HardwareReport, Technology, Total, Unavailable, or_none, time_key
from intsnn.report.markdown import quantity
from intsnn.report.words import counted, figure_in_words, markdown_table
from intsnn.shares import percent

COMPARED = (
    "edap_pj_ns_um2",
    "dense_tops_per_w",
    "dense_tops_per_mm2",
    "effective_tops_per_w",
    "effective_tops_per_mm2",
    "energy_pj",
    "latency_ns",  # the time per inference where one of the two serves a batch
    "area_um2",
    "pj_per_synaptic_operation",
)  # first the three that MD-SNN (arXiv:2512.04443) reports, each definition of an operation by itself
_HIGHER_IS_BETTER = ("tops_per_w", "tops_per_mm2")


class Technologies(Enum):
    """Whether designs of different node, supply or clock may be compared."""

    EQUAL = "equal"
    ANY = "any"


@dataclass(frozen=True)
class ComparedFigure:
    """One total of both reports, in one unit. gain: how many times better the first is (below 1: worse)."""

    key: str
    label: str
    unit: str
    figure: Figure
    against: Figure
    gain: Figure

    @property
    def words(self) -> str:
        """`14.85x lower`: the gain as a reader says it."""
        return figure_in_words(self.gain, self._gain_in_words)

    def _gain_in_words(self, gain: float) -> str:
        if gain == 1:
            return "equal"
        better = "higher" if self.key.endswith(_HIGHER_IS_BETTER) else "lower"
        worse = "lower" if better == "higher" else "higher"
        return f"{gain:.2f}x {better}" if gain >= 1 else f"{1 / gain:.2f}x {worse}"


@dataclass(frozen=True)
class ComparedNumbers:
    """One total of both designs and the gain of the first; None where it is not available."""

    figure: str
    unit: str
    value: float | None
    against: float | None
    gain: float | None


@dataclass(frozen=True)
class ComparisonDocument:
    """A comparison as plain values. beside: the same network against other designs, where several were asked for."""

    name: str
    against: str
    figures: tuple[ComparedNumbers, ...]
    assumptions: tuple[str, ...]
    beside: tuple[ComparisonDocument, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """A network's figures beside those of another design, and what has to be known to read them."""

    name: str
    against: str
    figures: tuple[ComparedFigure, ...]
    assumptions: tuple[str, ...]

    def figure(self, key: str) -> ComparedFigure:
        """One total by key.

        Raises:
            HardwareError: it is not compared.
        """
        for one in self.figures:
            if one.key == key:
                return one
        raise HardwareError(f"{key!r} is not compared", hints=[f"compared are {', '.join(COMPARED)}"])

    def table(self) -> str:
        """Both figures and the ratio, as a Markdown table, then the assumptions."""
        return joint_table((self,))

    def document(self) -> ComparisonDocument:
        """The comparison as plain values."""
        return ComparisonDocument(
            self.name,
            self.against,
            tuple(
                ComparedNumbers(one.key, one.unit, or_none(one.figure), or_none(one.against), or_none(one.gain))
                for one in self.figures
            ),
            self.assumptions,
        )


def joint_table(comparisons: Sequence[Comparison]) -> str:
    """One network against several designs: its figures once, each design's and the ratio; then what is assumed.

    Args:
        comparisons: at least one, all of the same network.
    """
    first = comparisons[0]
    rows = (
        (
            one.label,
            _text(one, one.figure),
            *_beside(tuple(found.figure(one.key) for found in comparisons)),
        )
        for one in first.figures
    )
    heads = [head for found in comparisons for head in (found.against, f"ratio to {found.against}")]
    if len(comparisons) == 1:
        heads[1] = "ratio"
    table = markdown_table(("figure", first.name, *heads), rows)
    assumptions = dict.fromkeys(text for found in comparisons for text in found.assumptions)
    return "\n".join([table, "", *(f"- {text}" for text in assumptions)])


def _beside(figures: Sequence[ComparedFigure]) -> Iterator[str]:
    for one in figures:
        yield _text(one, one.against)
        yield one.words


def compare(
    report: HardwareReport,
    against: HardwareReport,
    *,
    names: tuple[str, str] = ("network", "against"),
    assumptions: tuple[str, ...] = (),
    technologies: Technologies = Technologies.EQUAL,
) -> Comparison:
    """Both reports' totals and their ratios.

    Args:
        report: the design that is asked about.
        against: the one it is held against.
        names: how a table calls the two.
        assumptions: what was assumed to make the second one, for example by a baseline.
        technologies: whether node, supply and clock must be equal.

    Raises:
        UsageError: the technologies differ and must be equal.
    """
    if technologies is Technologies.EQUAL and report.technology != against.technology:
        raise UsageError(
            f"designs are compared on one technology (got {_technology(report.technology)} and "
            f"{_technology(against.technology)})",
            hints=["price both on descriptions of one node, supply and clock, or add `--across-technologies`"],
        )
    mine = {total.key: total for total in report.totals()}
    theirs = {total.key: total for total in against.totals()}
    figures = (
        ComparedFigure(
            key,
            mine[key].label,
            mine[key].unit,
            mine[key].figure,
            theirs[key].figure,
            _gain(key, mine[key].figure, theirs[key].figure),
        )
        for key in (time_key(report, against) if one == "latency_ns" else one for one in COMPARED)
    )
    return Comparison(*names, tuple(figures), (*_conditions(report, against), *assumptions))


def _gain(key: str, mine: Figure, theirs: Figure) -> Figure:
    if isinstance(mine, Unavailable):
        return mine
    if isinstance(theirs, Unavailable):
        return theirs
    over, under = (mine, theirs) if key.endswith(_HIGHER_IS_BETTER) else (theirs, mine)
    return over / under if under else Unavailable("the figure below the line is 0")


def _conditions(report: HardwareReport, against: HardwareReport) -> tuple[str, ...]:
    """What both have in common, and what they do not."""
    lines = [_hardware(report, against)]
    for word, mine, theirs in (
        ("technology", _technology(report.technology), _technology(against.technology)),
        ("T", str(report.workload.time_steps), str(against.workload.time_steps)),
        ("activity", _activity(report), _activity(against)),
        ("dense operations", counted(report.dense_operations), counted(against.dense_operations)),
    ):
        lines.append(f"{word}: {mine}" if mine == theirs else f"{word} DIFFERS: {mine} against {theirs}")
    return (*lines, *_batches(report, against))


def _batches(report: HardwareReport, against: HardwareReport) -> tuple[str, ...]:
    """What times are compared where one of the two runs inferences in batches."""
    if time_key(report, against) == "latency_ns":
        return ()
    served = report.batch if report.batch == against.batch else f"{report.batch:,} against {against.batch:,}"
    return (f"inferences that share a load of weights: {served}; times and EDAP are those per inference",)


def _hardware(report: HardwareReport, against: HardwareReport) -> str:
    """A copy of a description keeps its name when its numbers change, so the name alone does not tell."""
    if report.hardware != against.hardware:
        return f"hardware DIFFERS: {report.hardware} against {against.hardware}"
    if _description(report) != _description(against):
        return f"hardware DIFFERS: two descriptions, both named {report.hardware}"
    return f"hardware: {report.hardware}"


def _description(report: HardwareReport) -> tuple[object, ...]:
    """All that a report knows of its description; where nothing is mapped, its prices as they were published."""
    mapping = None if report.basis is None else report.basis.mapping
    return (mapping and mapping.hardware, report.technology, report.provenance, report.floorplan)


def _technology(technology: Technology) -> str:
    supply = "no supply named" if technology.voltage_v is None else f"{technology.voltage_v:g} V"
    return f"{technology.node_nm:g} nm, {supply}, {technology.clock_mhz:g} MHz"


def _activity(report: HardwareReport) -> str:
    workload = report.workload
    source = f"measured on {workload.samples} samples" if workload.activity == "measured" else "assumed"
    return f"{source}, mean spike rate {percent(workload.mean_rate)}"


def _text(one: ComparedFigure, figure: Figure) -> str:
    """A figure in the unit that it has in a report."""
    return quantity(Total(one.key, one.label, one.unit, figure))
