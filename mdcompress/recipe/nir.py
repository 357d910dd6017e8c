"""What a `.nir` file leaves open, how its continuous-time neurons become steps: a recipe's `model.nir`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, ValidationError

from intsnn.errors import UsageError
from mdcompress.graph import Comparator, ResetKind
from mdcompress.recipe.keys import RecipeSection

NirExporter = Literal["spikingjelly", "snntorch", "norse", "sinabs"]
Discretization = Literal["euler", "exponential", "jump", "norse"]
ResetStep = Literal["same_step", "next_step"]
SpikeCount = Literal["binary", "counts"]
StartLevel = Literal["v_leak", "v_reset"]
ReaderStep = Literal["euler", "jump"]  # what will run a file that is written: how it discretizes
ReaderReset = Literal["hard", "soft"]  # and what it does at a spike


class NirSpec(RecipeSection):
    """How the neurons of a `.nir` file are read; what is null comes from `exporter`, and is asked for where needed."""

    exporter: NirExporter | None = Field(
        None,
        description="The library that wrote the file; it fixes the keys below that its exporter always writes alike.",
    )
    dt: float | None = Field(None, gt=0, description="Length of a step, in the unit of the file's time constants.")
    reset: ResetKind | None = Field(
        None, description="What a spike does: `hard` goes to v_reset, `soft` subtracts v_threshold."
    )
    comparator: Comparator | None = Field(None, description="Whether a potential at the threshold fires.")
    discretization: Discretization | None = Field(
        None,
        description="How an equation becomes a step: `euler` forward, `exponential` with the input held, `jump` decays "
        "exponentially and adds r*input whole, `norse` is euler with inputs that jump into synapses and integrators.",
    )
    reset_step: ResetStep | None = Field(
        None, description="When the reset takes place; null: in the step of the spike, as NIR's equations say."
    )
    spikes: SpikeCount | None = Field(
        None, description="`counts` fires once for every threshold passed; null: binary, as NIR's equations say."
    )
    start: StartLevel | None = Field(
        None, description="Where the membrane of a leaky neuron starts; null: v_leak. Integrators start at v_reset."
    )


def nir_spec(spec: NirSpec | None, options: Mapping[str, object]) -> NirSpec:
    """`spec` with the keys of `options` on top.

    Raises:
        UsageError: an option is no key of NirSpec, or has a value that the key cannot have.
    """
    given = {} if spec is None else spec.model_dump(exclude_none=True)
    try:
        return NirSpec.model_validate({**given, **options})
    except ValidationError as error:
        wrong = [f"`{'.'.join(map(str, one['loc']))}`: {one['msg']} (got {one['input']!r})" for one in error.errors()]
        raise UsageError(
            f"the options of a NIR graph must be keys of NirSpec: {'; '.join(wrong)}",
            hints=[f"the keys are {', '.join(NirSpec.model_fields)}"],
        ) from error
