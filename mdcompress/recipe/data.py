"""The recipe's `data` section: which samples, how they become frames, how they are varied and fetched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, model_validator

from intsnn.yaml.file import RuleError
from intsnn.yaml.wording import seen
from mdcompress.data.names import (
    DATA_SETS,
    DEFAULT_FOLDER,
    EVENT_SETS,
    MIRRORED_SETS,
    RECORDED_SETS,
    Encoding,
)
from mdcompress.recipe.keys import ReadBy, ReadWhere, RecipeSection
from mdcompress.recipe.values import DataName
from mdcompress.runs.manifest import Stage


class AugmentSpec(RecipeSection):
    """How training samples are varied, anew in each epoch; those of calibration, validation and test never are."""

    crop: int = Field(
        0, ge=0, description="Images: pixels of dark margin, out of which an image of the same size is cut. CIFAR: 4."
    )
    flip: bool = Field(
        False,
        description="Whether samples are mirrored, left to right, with probability 1/2. Not of digits or gestures.",
    )
    cutout: int = Field(
        0, ge=0, description="Images: side of a square around a pixel of the image that is made dark. CIFAR-10: 16."
    )
    roll: int = Field(
        0,
        ge=0,
        description="Events: most pixels by which all are moved along each axis, around the edges.",
    )
    drop: float = Field(0.0, ge=0, lt=1, description="Events: the probability with which each is left out.")

    @property
    def given(self) -> tuple[str, ...]:
        """The keys that change anything."""
        return tuple(name for name, value in self if value)


_NAMED = "name is that of a data set"
_RECORDED = f"name is {', '.join(RECORDED_SETS[:-1])} or {RECORDED_SETS[-1]}"


def _is_recorded(given: Mapping[str, object]) -> bool:
    return given["name"] in RECORDED_SETS


def _is_named(given: Mapping[str, object]) -> bool:
    return ":" not in str(given["name"])


class DataSpec(RecipeSection):
    """What the network is trained, calibrated and tested on."""

    name: DataName = Field(
        "digits",
        description=f"A data set ({', '.join(DATA_SETS)}), or the import path of one's own loaders.",
    )
    time_steps: int = Field(4, ge=1, description="T: how many steps a sample is shown.")
    encoding: Encoding = Field(
        "direct",
        description="How an image becomes T frames: `direct` repeats it, `rate` draws spikes with the intensity as "
        "probability, `events` moves it before a simulated event camera; event sets are binned as they were recorded.",
    )
    batch_size: Annotated[int, ReadBy(Stage.TRAIN, Stage.QUANTIZE, Stage.DISTILL)] = Field(
        64, ge=1, description="Samples in a batch."
    )
    calibration_samples: Annotated[int, ReadBy(Stage.QUANTIZE, Stage.DISTILL)] = Field(
        512, ge=1, description="Training samples from which scales are found."
    )
    folder: Annotated[str | None, ReadBy()] = Field(  # says where the samples lie, not what they are
        None, description=f"Where the data set's files lie; null: {DEFAULT_FOLDER}/."
    )
    size: Annotated[int | None, ReadWhere(_RECORDED, _is_recorded)] = Field(
        None,
        ge=1,
        description="Height and width to which recorded events are reduced, whatever the sensor's shape "
        "(N-Caltech101: 48 of 180 x 240); no event is lost. null: those of the sensor.",
    )
    cache: Annotated[bool, ReadBy(), ReadWhere(_RECORDED, _is_recorded)] = Field(
        False,
        description="Whether binned recordings are kept, packed, in `mdcompress_cache` in the data's folder: each is "
        "read and binned once, not once an epoch.",
    )
    augment: Annotated[AugmentSpec, ReadBy(Stage.TRAIN, Stage.DISTILL)] = Field(
        AugmentSpec(), description="How training samples are varied."
    )
    workers: Annotated[int, ReadBy(), ReadWhere(_NAMED, _is_named)] = Field(  # with any number the batches are the same
        0, ge=0, description="Processes that prepare batches while others are trained on; 0: none, in turn."
    )
    pin_memory: Annotated[bool, ReadBy(), ReadWhere(_NAMED, _is_named)] = Field(
        False, description="Whether batches are put into memory that a GPU reads fastest, where there is one."
    )

    @model_validator(mode="after")
    def _augment_fits_the_samples(self) -> DataSpec:
        for key in self.augment.given:
            if fault := _misfit(key, self):
                raise RuleError(fault[0], hint=fault[1], field=f"augment.{key}")
        return self

    @model_validator(mode="after")
    def _events_are_not_drawn(self) -> DataSpec:
        if self.encoding == "rate" and self.name in EVENT_SETS:
            message = f"must be direct or events for {self.name}, which is made of events (got 'rate')"
            raise RuleError(message, hint="write `events`", field="encoding")
        return self


_OF_IMAGES, _OF_EVENTS = ("crop", "cutout"), ("roll", "drop")


def _misfit(key: str, data: DataSpec) -> tuple[str, str] | None:
    """Why samples of `data` cannot be varied so, and a way out; None where they can."""
    given = seen(getattr(data.augment, key))
    if ":" in data.name:
        return f"is for the named data sets {given}", "delete it; loaders of one's own vary their samples themselves"
    are_events = data.encoding == "events" or data.name in EVENT_SETS
    if key in (_OF_IMAGES if are_events else _OF_EVENTS):
        others = _OF_EVENTS if are_events else _OF_IMAGES
        kind = "images, and the network sees events" if are_events else "events, and the network sees images"
        return f"is for {kind} {given}", f"use {' and '.join(others)}"
    if key == "flip" and data.name not in MIRRORED_SETS:
        return f"is not for {data.name}, whose samples are of another class in a mirror {given}", "delete it"
    return None
