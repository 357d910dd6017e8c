"""How scales are found from data: the `calibrate` section of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from intsnn.yaml.file import StrictModel


class CalibrateSpec(StrictModel):
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
    percentile: float = Field(99.9, gt=0, le=100, description="The percentile, where one is asked for.")
    weights: Literal["nearest", "reconstruct"] = Field(
        "reconstruct",
        description="`nearest` rounds every weight by itself; `reconstruct` rounds a layer's weights one after the "
        "other, each making up for the errors before it on the membranes of the calibration data.",
    )
    statistics: Literal["recompute", "keep"] = Field(
        "recompute",
        description="Running mean and variance of batch norms: measured in the quantized network, or those of the "
        "float network.",
    )
    offsets: Literal["keep", "correct"] = Field(
        "correct",
        description="`correct` adds to each channel's offset B what the mean current of the float network is larger, "
        "layer by layer; a layer with neither bias nor batch norm has no offset and is left out.",
    )
