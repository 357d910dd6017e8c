"""How each part of a network is quantized and scaled: the `quantize` and `calibrate` sections of a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field, model_serializer, model_validator

from intsnn.weight_bits import TERNARY_BITS
from intsnn.yaml.file import RuleError
from mdcompress.recipe.keys import IdleKey, ReadWhere, RecipeSection, idle_in
from mdcompress.recipe.values import NodePatterns, WeightBits, as_tuple


class WeightPolicy(RecipeSection):
    """Weights as integers times a scale: w = s_w * q_w."""

    bit_width: WeightBits = Field(
        8,
        description=f"Bits of a weight; 1 is binary (-1, +1) and {TERNARY_BITS} ternary (-1, 0, +1).",
    )
    granularity: Literal["per_tensor", "per_channel"] = Field(
        "per_channel", description="One scale for the layer, or one for each output channel."
    )
    scale: Literal["float", "power_of_two"] = Field(
        "float", description="Whether the scale is any number or a power of two."
    )
    range: Literal["max", "mse", "learned"] = Field(
        "learned",
        description="How the clipping range is found: `max` is the largest absolute weight and follows it; `mse` has "
        "the least squared error and is fixed; `learned` starts there and is trained.",
    )
    narrow_range: bool = Field(
        True, description="Leave out the most negative integer, so that the levels are symmetric about 0."
    )

    @model_validator(mode="after")
    def _few_levels_are_symmetric(self) -> WeightPolicy:
        if self.bit_width < 2 and not self.narrow_range:
            levels = "-1, +1" if self.bit_width == 1 else "-1, 0, +1"
            raise RuleError(
                f"must be true at {self.bit_width:g} bit: the levels are {levels}, and none can be left in (got false)",
                hint="set narrow_range to true, or bit_width to 2 for the levels -2, -1, 0, +1",
                field="narrow_range",
            )
        return self


class MembranePolicy(RecipeSection):
    """The stored membrane potential as integers of N bits: v = s_v * q_v. The comparison happens before storage."""

    bit_width: int = Field(8, ge=2, le=16, description="Bits of the stored membrane potential (signed).")
    scale: Literal["learned", "calibrated"] = Field(
        "learned", description="Whether the scale is trained, or fixed after calibration."
    )
    overflow: Literal["saturate"] = Field("saturate", description="What happens beyond the range: it clips.")
    guard_bits: int | None = Field(
        None,
        ge=0,
        le=12,
        description="Bits below the stored ones in which currents are integrated and compared; null: what the leak "
        "needs, and at least 8 below 8 stored bits, else 4.",
    )
    rounding: Literal["half_up", "floor"] = Field(
        "half_up", description="How the guard bits are dropped when the membrane is stored."
    )


class BatchNormPolicy(RecipeSection):
    """Batch norm (or a bare bias) as integers: j = (acc * M + B) >> S, M and B per channel."""

    mode: Literal["quantize", "fold", "power_of_two"] = Field(
        "quantize",
        description="`quantize` keeps batch norm as the multiplier M; `fold` puts it into the weights before they are "
        "quantized, so that M carries scales only; `power_of_two` makes M a shift.",
    )
    scale_bit_width: Annotated[
        int, ReadWhere("mode is quantize or fold", lambda given: given["mode"] != "power_of_two")
    ] = Field(
        8,
        ge=2,
        le=16,
        description="Significant bits of the multiplier M (signed); `power_of_two` needs only its exponent.",
    )
    shift_bit_width: int = Field(16, ge=4, le=24, description="Significant bits of the offset B (signed).")


class InputPolicy(RecipeSection):
    """The network's input as integers."""

    bit_width: int = Field(8, ge=1, le=8, description="Bits of an input value.")


class Override(RecipeSection):
    """Other settings for some nodes; only the keys that are given change."""

    match: NodePatterns = Field(
        description="Which nodes: names or globs (`*` stops at a dot, `**` does not), `re:` regular expressions, or "
        "the roles @first and @last (synapse), @residual, @readout; each must match at least one node."
    )
    weight: WeightPolicy | None = Field(None, description="Keys of quantize.weight, for the synapses among them.")
    membrane: MembranePolicy | None = Field(None, description="Keys of quantize.membrane, for the neurons among them.")
    batch_norm: BatchNormPolicy | None = Field(
        None, description="Keys of quantize.batch_norm, for the synapses among them."
    )

    @property
    def patterns(self) -> tuple[str, ...]:
        """`match` as a tuple."""
        return as_tuple(self.match)

    @property
    def sections(self) -> dict[str, RecipeSection]:
        """The policies that are given: by name, in the order weight, membrane, batch_norm."""
        named = {"weight": self.weight, "membrane": self.membrane, "batch_norm": self.batch_norm}
        return {name: policy for name, policy in named.items() if policy is not None}

    def changes(self, section: str) -> dict[str, object]:
        """The keys that are given for a section, with their values."""
        policy = self.sections.get(section)
        return {} if policy is None else {key: getattr(policy, key) for key in policy.model_fields_set}

    @model_validator(mode="after")
    def _changes_something(self) -> Override:
        for name, policy in self.sections.items():
            if not policy.model_fields_set:
                raise RuleError("changes nothing", hint="give a key such as bit_width", field=name)
        if not self.sections:
            raise RuleError("changes nothing", hint="give `weight`, `membrane` or `batch_norm`, or delete the item")
        return self

    @model_serializer
    def _only_what_was_given(self) -> dict[str, object]:
        given = {name: policy.model_dump(mode="json", exclude_unset=True) for name, policy in self.sections.items()}
        return {"match": self.match if isinstance(self.match, str) else list(self.match), **given}


class QuantizeSpec(RecipeSection):
    """One policy for each kind of part, and the nodes that differ."""

    weight: WeightPolicy = Field(WeightPolicy(), description="Every synapse's weights.")
    membrane: MembranePolicy = Field(MembranePolicy(), description="Every neuron's membrane potential.")
    batch_norm: BatchNormPolicy = Field(BatchNormPolicy(), description="Every synapse's batch norm or bias.")
    input: InputPolicy = Field(InputPolicy(), description="The network's input.")
    overrides: tuple[Override, ...] = Field(
        (), description="Nodes that differ; a later item wins over an earlier one, key by key."
    )

    def idle_keys(self) -> Iterator[IdleKey]:
        """A key of a policy counts at every node that the policy holds for, with what other items change there."""
        for name, base in (("weight", self.weight), ("membrane", self.membrane), ("batch_norm", self.batch_norm)):
            others = [{}, *(item.changes(name) for item in self.overrides)]
            yield from (idle.below(name) for idle in idle_in(base, [{**dict(base), **other} for other in others]))
            for number, item in enumerate(self.overrides):
                if (policy := item.sections.get(name)) is not None:
                    situations = [{**dict(base), **other, **item.changes(name)} for other in others]
                    yield from (idle.below("overrides", number, name) for idle in idle_in(policy, situations))


def _asks_for_a_percentile(given: Mapping[str, object]) -> bool:
    return "percentile" in (given["input"], given["membrane"])


class CalibrateSpec(RecipeSection):
    """How scales are found from data, and what is corrected with them, before any training."""

    input: Literal["max", "mse", "percentile"] = Field(
        "max",
        description="The largest input that has an integer, where the data lie on no grid: the largest seen, the one "
        "with the least squared error, or a percentile.",
    )
    membrane: Literal["mse", "percentile"] = Field(
        "mse",
        description="The stored range of membranes: with the least squared error above -threshold, or a percentile of "
        "their sizes.",
    )
    percentile: Annotated[float, ReadWhere("input or membrane is percentile", _asks_for_a_percentile)] = Field(
        99.9, gt=0, le=100, description="The percentile, where one is asked for."
    )
    weights: Literal["nearest", "reconstruct"] = Field(
        "reconstruct",
        description="`nearest` rounds every weight by itself; `reconstruct` rounds a layer's weights one after the "
        "other, each making up for the errors before it on the membranes of the calibration data.",
    )
    statistics: Literal["recompute", "keep"] = Field(
        "recompute",
        description="Running mean and variance of batch norms: measured in the quantized network, or those of the "
        "float network (of a student of fewer steps: measured in the float network over those steps).",
    )
    offsets: Literal["keep", "correct"] = Field(
        "correct",
        description="`correct` adds to each channel's offset B what the mean current of the float network is larger, "
        "layer by layer; a layer with neither bias nor batch norm has no offset and is left out.",
    )
