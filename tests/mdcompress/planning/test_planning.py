"""Planning: patterns, roles, merging, what is impossible, and the forms of a plan; on graphs built by hand."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intsnn.yaml.file import RuleError
from intsnn.yaml.tree import parse_tree
from mdcompress.errors import CheckpointError, PlanError
from mdcompress.graph import (
    AddSpec,
    Carries,
    Finding,
    FlattenSpec,
    InputSpec,
    NeuronModel,
    PoolSpec,
    ReadoutSpec,
    SnnGraph,
    SnnNode,
    SynapseSpec,
)
from mdcompress.planning import (
    PlanRow,
    QuantPlan,
    format_plan,
    leak_bits,
    match_names,
    plan,
    plan_from_json,
    plan_to_json,
    plan_to_yaml,
)
from mdcompress.planning.neurons import keeps_leak
from mdcompress.recipe import (
    BatchNormPolicy,
    DistillSpec,
    InputPolicy,
    MembraneLossSpec,
    MembranePolicy,
    Override,
    QuantizeSpec,
    Recipe,
    WeightPolicy,
    load_recipe,
    shipped_recipes,
)
from mdcompress.recipe.patterns import check_pattern


def synapse(name: str, reads: str) -> SnnNode[SynapseSpec]:
    spec = SynapseSpec("conv2d", (4, 4, 3, 3), (1, 1), (1, 1), (1, 1), 1, False, f"{name}_bn")
    return SnnNode(name, spec, (reads,), (4, 8, 8), Carries.CURRENT)


def neuron(name: str, reads: str, *, decay: float = 0.5, threshold: float = 1.0) -> SnnNode:
    spec = NeuronModel(decay, 1.0, 0.0, threshold, "greater_equal", "hard", 0.0, 0.0, 0.0)
    return SnnNode(name, spec, (reads,), (4, 8, 8), Carries.SPIKES)


def add(name: str, *reads: str) -> SnnNode:
    return SnnNode(name, AddSpec(), reads, (4, 8, 8), Carries.CURRENT)


def pool(name: str, reads: str) -> SnnNode:
    return SnnNode(name, PoolSpec("max", (2, 2), (2, 2), (0, 0)), (reads,), (4, 4, 4), Carries.CURRENT)


def graph(*nodes: SnnNode) -> SnnGraph:
    """Input first and a flatten and a readout last, around the nodes; the first node reads `input`."""
    source = SnnNode("input", InputSpec(), (), (1, 8, 8), Carries.INPUT)
    flat = SnnNode("flatten", FlattenSpec(), (nodes[-1].name,), (256,), Carries.CURRENT)
    readout = SnnNode("output", ReadoutSpec("mean"), ("flatten",), (256,), Carries.CURRENT)
    return SnnGraph((source, *nodes, flat, readout), 4)


PLAIN = graph(
    synapse("conv1", "input"), neuron("lif1", "conv1"), synapse("layer1.conv", "lif1"),
    neuron("layer1.lif", "layer1.conv"), pool("pool", "layer1.lif"), synapse("head.fc", "pool"),
)  # fmt: skip

# MS-ResNet: stem -> stream; block: lif - conv - bn, added to the stream through a pool on one branch; then lif - fc
RESIDUAL = graph(
    synapse("stem", "input"),
    neuron("block.lif1", "stem"), synapse("block.conv1", "block.lif1"), neuron("block.lif2", "block.conv1"),
    synapse("block.conv2", "block.lif2"), pool("block.pool", "block.conv2"),
    add("block.add", "stem", "block.pool"), neuron("head.lif", "block.add"), synapse("head.fc", "head.lif"),
)  # fmt: skip


def recipe(
    *overrides: Override,
    weight: WeightPolicy | None = None,
    membrane: MembranePolicy | None = None,
    membrane_match: str | tuple[str, ...] | None = None,
) -> Recipe:
    quantize = QuantizeSpec(
        weight=weight or WeightPolicy(bit_width=4), membrane=membrane or MembranePolicy(), overrides=overrides
    )
    loss = None if membrane_match is None else MembraneLossSpec(match=membrane_match)
    return Recipe(name="r", quantize=quantize, distill=DistillSpec(membrane=loss))


def weight_bits(planned: QuantPlan) -> dict[str, float]:
    return {node.name: node.weight.bit_width for node in planned if node.weight is not None}


def refusal(of: Recipe, on: SnnGraph) -> PlanError:
    with pytest.raises(PlanError) as caught:
        plan(of, on)
    return caught.value


NAMES = ("conv1", "conv2", "layer1.0.conv", "layer1.0.lif", "layer1.1.conv", "layer1.pool", "layer10.conv", "a[0]")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("conv1", ("conv1",)),
        ("conv?", ("conv1", "conv2")),
        ("*", ("conv1", "conv2", "a[0]")),
        ("**", NAMES),
        ("layer1.*", ("layer1.pool",)),
        ("layer1.**", ("layer1.0.conv", "layer1.0.lif", "layer1.1.conv", "layer1.pool")),
        ("layer1.*.conv", ("layer1.0.conv", "layer1.1.conv")),
        ("**conv", ("layer1.0.conv", "layer1.1.conv", "layer10.conv")),
        ("layer1?conv", ()),
        ("layer1??.conv", ()),
        ("layer1?.conv", ("layer10.conv",)),
        ("conv[12]", ("conv1", "conv2")),
        ("conv[!1]", ("conv2",)),
        ("conv[0-1]", ("conv1",)),
        ("a[[]0]", ("a[0]",)),
        ("a[0", ()),
        ("re:conv\\d", ("conv1", "conv2")),
        ("re:conv", ()),
        ("re:layer1\\..*lif", ("layer1.0.lif",)),
        ("@first", ()),
        ("CONV1", ()),
        (("conv2", "conv1", "conv?"), ("conv1", "conv2")),
    ],
)
def test_patterns_match_whole_names_and_stars_stop_at_dots(
    pattern: str | tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert match_names(pattern, NAMES) == expected


DOTTED = st.from_regex(r"[a-c0]{1,3}(\.[a-c0]{1,3}){0,3}", fullmatch=True)


@given(DOTTED, st.lists(DOTTED))
def test_name_without_signs_matches_itself_only(name: str, names: list[str]) -> None:
    assert match_names(name, names) == tuple(other for other in names if other == name)


@given(st.lists(st.sampled_from(["a", "b", "*", "**", ".", "?"]), min_size=1), DOTTED)
def test_globs_agree_with_an_independent_matcher(parts: list[str], name: str) -> None:
    def matches(pattern: str, text: str) -> bool:  # by definition, without regular expressions
        if not pattern:
            return not text
        if pattern.startswith("**"):
            return any(matches(pattern[2:], text[skip:]) for skip in range(len(text) + 1))
        if pattern[0] == "*":
            within = text.partition(".")[0]
            return any(matches(pattern[1:], text[skip:]) for skip in range(len(within) + 1))
        return (
            bool(text)
            and (text[0] == pattern[0] or (pattern[0] == "?" and text[0] != "."))
            and matches(pattern[1:], text[1:])
        )

    pattern = "".join(parts)
    assert bool(match_names(pattern, [name])) == matches(pattern, name)


@pytest.mark.parametrize("pattern", ["conv", "**", "[", "a]b", "[]a]", "re:a|b", "@first", "a{", "(", "a\\"])
def test_pattern_of_sound_form_is_kept(pattern: str) -> None:
    assert check_pattern(pattern) == pattern
    assert isinstance(match_names(pattern, ["a"]), tuple)


@pytest.mark.parametrize("pattern", ["", "re:", "re:(", "re:[", "@", "@frist", "x[z-a]", "[!]"])
def test_pattern_of_unsound_form_is_an_error(pattern: str) -> None:
    with pytest.raises(RuleError):
        check_pattern(pattern)


def test_each_kind_of_node_gets_its_policies() -> None:
    planned = plan(recipe(), PLAIN)
    kinds = {node.name: tuple(node.policies) for node in planned}
    assert kinds == {
        "input": ("input",), "conv1": ("weight", "batch_norm"), "lif1": ("membrane",),
        "layer1.conv": ("weight", "batch_norm"), "layer1.lif": ("membrane",), "pool": (),
        "head.fc": ("weight", "batch_norm"), "flatten": (), "output": (),
    }  # fmt: skip
    assert planned.node("input").input == InputPolicy(bit_width=8)
    assert planned.node("conv1").weight == WeightPolicy(bit_width=4)
    assert planned.node("conv1").batch_norm == BatchNormPolicy()
    assert planned.node("lif1").membrane == MembranePolicy(guard_bits=4)
    assert [node.name for node in planned] == [node.name for node in PLAIN]
    assert len(planned) == len(PLAIN.nodes)
    assert planned.node("conv1").shape == (4, 8, 8)


def test_unknown_node_of_a_plan_is_an_error_that_helps() -> None:
    planned = plan(recipe(), PLAIN)
    with pytest.raises(PlanError, match="the plan has no node 'lif2'") as caught:
        planned.node("lif2")
    assert caught.value.hints == ("did you mean 'lif1'?",)
    with pytest.raises(PlanError) as caught:
        planned.node("zzz")
    assert "conv1, lif1" in caught.value.hints[0]


@pytest.mark.parametrize(
    ("role", "network", "expected"),
    [
        ("@first", PLAIN, ["conv1"]),
        ("@last", PLAIN, ["head.fc"]),
        ("@readout", PLAIN, ["head.fc"]),
        ("@first", RESIDUAL, ["stem"]),
        ("@last", RESIDUAL, ["head.fc"]),
        ("@readout", RESIDUAL, ["head.fc"]),
        ("@residual", RESIDUAL, ["stem", "block.conv2"]),
        ("@readout", graph(synapse("a", "input"), synapse("b", "a"), add("c", "a", "b")), ["a", "b"]),
        ("@readout", graph(synapse("a", "input"), neuron("n", "a"), synapse("b", "n")), ["b"]),
        ("@residual", graph(synapse("a", "input"), neuron("n", "a"), synapse("b", "n"), neuron("m", "b"),
                            pool("p", "n"), add("c", "p", "m"), synapse("d", "c")), ["n", "m"]),
    ],
)  # fmt: skip
def test_roles_select_nodes_by_their_place_in_the_graph(role: str, network: SnnGraph, expected: list[str]) -> None:
    override = Override(
        match=role,
        weight=WeightPolicy(bit_width=7) if role != "@residual" or "stem" in expected else None,
        membrane=MembranePolicy(bit_width=7) if role == "@residual" and "stem" not in expected else None,
    )
    planned = plan(recipe(override), network)
    hit = [node.name for node in planned if any(origin.endswith(f"({role})") for _, origin in node.origin)]
    assert hit == expected


def test_later_override_wins_field_by_field() -> None:
    planned = plan(
        recipe(
            Override(match="**", weight=WeightPolicy(bit_width=6, range="mse")),
            Override(match=("layer1.*", "@last"), weight=WeightPolicy(bit_width=8)),
        ),
        PLAIN,
    )
    assert weight_bits(planned) == {"conv1": 6, "layer1.conv": 8, "head.fc": 8}
    conv = planned.node("layer1.conv")
    assert conv.weight == WeightPolicy(bit_width=8, range="mse")
    origin = dict(conv.origin)
    assert origin["weight.bit_width"] == "quantize.overrides.1 (layer1.*)"
    assert origin["weight.range"] == "quantize.overrides.0 (**)"
    assert origin["weight.granularity"] == "default"
    assert dict(planned.node("head.fc").origin)["weight.bit_width"] == "quantize.overrides.1 (@last)"


def test_field_that_an_override_gives_at_its_default_counts_as_given() -> None:
    planned = plan(
        recipe(
            Override(match="conv1", weight=WeightPolicy(granularity="per_channel")),
            weight=WeightPolicy(bit_width=3, granularity="per_tensor"),
        ),
        PLAIN,
    )
    assert planned.node("conv1").weight == WeightPolicy(bit_width=3, granularity="per_channel")
    assert planned.node("head.fc").weight == WeightPolicy(bit_width=3, granularity="per_tensor")
    assert dict(planned.node("conv1").origin)["weight.bit_width"] == "quantize.weight"


def test_override_of_several_sections_reaches_each_kind() -> None:
    planned = plan(
        recipe(
            Override(
                match="layer1.**",
                weight=WeightPolicy(bit_width=2),
                membrane=MembranePolicy(bit_width=3),
                batch_norm=BatchNormPolicy(mode="fold"),
            )
        ),
        PLAIN,
    )
    assert planned.node("layer1.conv").batch_norm == BatchNormPolicy(mode="fold")
    assert planned.node("layer1.lif").membrane == MembranePolicy(bit_width=3, guard_bits=8)
    assert planned.node("lif1").membrane == MembranePolicy(bit_width=8, guard_bits=4)


def test_planning_changes_neither_recipe_nor_graph() -> None:
    given_recipe = recipe(Override(match="@first", weight=WeightPolicy(bit_width=8)))
    before = given_recipe.model_dump()
    assert plan(given_recipe, PLAIN) == plan(given_recipe, PLAIN)
    assert given_recipe.model_dump() == before
    assert given_recipe.quantize.membrane.guard_bits is None


def test_pattern_that_matches_nothing_is_an_error() -> None:
    error = refusal(recipe(Override(match=("conv1", "conv9"), weight=WeightPolicy(bit_width=8))), PLAIN)
    assert error.message == (
        "recipe 'r' does not fit the network (1 problem)\n  quantize.overrides.0.match: 'conv9' matches no node"
    )
    assert error.hints == ("near to 'conv9': conv1, layer1.conv",)
    assert error.exit_code == 2


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("*conv", "`*` stops at a dot; write `**conv`"),
        ("layer*", "`*` stops at a dot; write `layer**`"),
        ("zzz", "the nodes are: input, conv1, lif1"),
        ("re:layer1", "near to 're:layer1': layer1.lif, layer1.conv"),
        ("re:x.*y", "the nodes are: input, conv1"),
        ("@residual", "the network has no residual addition; delete the pattern"),
    ],
)
def test_hint_says_what_to_write_for_a_pattern_that_matches_nothing(pattern: str, hint: str) -> None:
    override = Override(match=pattern, weight=WeightPolicy(bit_width=8))
    assert refusal(recipe(override), PLAIN).hints[0].startswith(hint)


def test_roles_of_a_network_without_synapses_match_nothing() -> None:
    error = refusal(recipe(Override(match="@first", weight=WeightPolicy(bit_width=8))), graph(pool("p", "input")))
    assert "the network has no synapse" in error.hints


def test_long_lists_of_names_are_cut() -> None:
    network = graph(synapse("c0", "input"), *(synapse(f"c{index + 1}", f"c{index}") for index in range(60)))
    error = refusal(recipe(Override(match="zzz", weight=WeightPolicy(bit_width=8))), network)
    assert error.hints[0].endswith("c38 and 24 more (--dry-run lists them)")


def test_override_that_applies_to_none_of_its_nodes_is_an_error() -> None:
    override = Override(match=("lif1", "pool"), weight=WeightPolicy(bit_width=8), membrane=MembranePolicy(bit_width=4))
    error = refusal(recipe(override), PLAIN)
    assert "quantize.overrides.0.weight: applies to synapses, and matches none (got lif1 (neuron), pool (pool))" in str(
        error
    )
    assert error.hints == ("the synapses are: conv1, layer1.conv, head.fc",)


def test_roles_and_rates_of_losses_are_checked_against_the_neurons() -> None:
    base = recipe(membrane_match="@stage_ends")
    assert plan(base, PLAIN).node("lif1").policies
    wrong = {"match": "@stage_ends", "layer_weights": {"lif1": 2.0, "head.*": 1.0}}
    error = refusal(
        Recipe.model_validate(
            {**base.model_dump(), "distill": {"membrane": wrong, "rates": {"match": ("lif1", "pool")}}}
        ),
        PLAIN,
    )
    assert "distill.membrane.layer_weights: 'head.*' matches no neuron" in str(error)
    assert "distill.rates.match: 'pool' matches no neuron" in str(error)
    assert "lif1'" not in str(error) and "stage_ends" not in str(error)


def test_patterns_of_sparsity_are_checked_against_the_neurons() -> None:
    targets = {"lif1": 0.1, "pool": 0.2}
    sparsity = {"match": ("lif1", "l9.*"), "layer_weights": {"conv1": 2.0}, "per": "layer", "layer_targets": targets}
    made = Recipe.model_validate({**recipe().model_dump(), "distill": {"sparsity": sparsity}})
    error = str(refusal(made, PLAIN))
    assert "distill.sparsity.match: 'l9.*' matches no neuron" in error
    assert "distill.sparsity.layer_weights: 'conv1' matches no neuron" in error
    assert "distill.sparsity.layer_targets: 'pool' matches no neuron" in error
    assert "'lif1' matches" not in error


def test_membrane_loss_that_matches_no_neuron_is_an_error() -> None:
    error = refusal(recipe(membrane_match=("**", "conv1")), PLAIN)
    assert "distill.membrane.match: 'conv1' matches no neuron" in str(error)
    assert error.hints == ("the nodes are: lif1, layer1.lif",)
    assert plan(recipe(membrane_match="**lif*"), PLAIN)


def test_all_faults_are_reported_at_once() -> None:
    network = graph(
        synapse("conv1", "input"), neuron("lif1", "conv1", threshold=0.0), neuron("lif2", "lif1", decay=2.0**-20)
    )
    error = refusal(
        recipe(
            Override(match="zzz", weight=WeightPolicy(bit_width=8)),
            Override(match="conv1", membrane=MembranePolicy(bit_width=8)),
            membrane_match="yyy",
        ),
        network,
    )
    assert "(5 problems)" in error.message
    assert len(error.hints) == 5


@pytest.mark.parametrize(
    ("threshold", "shown"), [(0.0, "0"), (-1.0, "-1"), (float("nan"), "nan"), (float("inf"), "inf")]
)
def test_threshold_that_is_not_positive_is_an_error(threshold: float, shown: str) -> None:
    error = refusal(recipe(), graph(synapse("c", "input"), neuron("n", "c", threshold=threshold)))
    assert f"neuron n: the threshold must be greater than 0 (got {shown})" in str(error)


@pytest.mark.parametrize("decay", [float("nan"), float("inf")])
def test_decay_that_is_no_number_is_an_error(decay: float) -> None:
    error = refusal(recipe(), graph(synapse("c", "input"), neuron("n", "c", decay=decay)))
    assert "neuron n: the decay must be a number" in str(error)


@pytest.mark.parametrize(
    ("decay", "bits"),
    [
        (0.0, 0), (1.0, 0), (0.5, 1), (0.75, 2), (0.25, 2), (0.875, 3), (0.9375, 4), (1 - 2**-8, 8), (2**-8, 8),
        (0.9, 8), (2 / 3, 8), (0.95, 8), (0.998, 8), (0.999, 9), (1 - 2**-9, 9), (1 - 2**-12, 12), (2**-9 * 1.5, 8),
        (0.9999, 12), (1.5, 1), (-0.5, 1),
    ],
)  # fmt: skip
def test_leak_bits_by_hand(decay: float, bits: int) -> None:
    assert leak_bits(decay) == bits


@given(st.integers(0, 256))
def test_short_binary_fractions_are_kept_exactly_and_with_no_bit_to_spare(numerator: int) -> None:
    decay = Fraction(numerator, 256)
    bits = leak_bits(float(decay))
    assert (decay * 2**bits).denominator == 1
    assert bits == 0 or (decay * 2 ** (bits - 1)).denominator != 1


@given(st.floats(1e-3, 1 - 1e-3))
def test_leak_never_becomes_no_leak(decay: float) -> None:
    bits = leak_bits(decay)
    assert keeps_leak(decay, bits)
    assert 0 < round(decay * 2**bits) < 2**bits


@pytest.mark.parametrize(
    ("bit_width", "decay", "guard_bits"),
    [(8, 0.5, 4), (16, 0.5, 4), (7, 0.5, 8), (2, 0.5, 8), (8, 1 - 2**-6, 6), (8, 0.9, 8), (4, 1 - 2**-10, 10)],
)
def test_guard_bits_are_found_from_leak_and_bit_width(bit_width: int, decay: float, guard_bits: int) -> None:
    membrane = MembranePolicy(bit_width=bit_width)
    planned = plan(recipe(membrane=membrane), graph(synapse("c", "input"), neuron("n", "c", decay=decay)))
    assert planned.node("n").guard_bits == guard_bits
    assert dict(planned.node("n").origin)["membrane.guard_bits"] == "automatic"


def test_given_guard_bits_are_kept_where_they_hold_the_leak() -> None:
    network = graph(synapse("c", "input"), neuron("n", "c", decay=0.9))
    planned = plan(
        recipe(membrane=MembranePolicy(guard_bits=5)), network
    )  # 0.9 * 32 = 28.8: an approximation, but a leak
    assert planned.node("n").guard_bits == 5
    assert dict(planned.node("n").origin)["membrane.guard_bits"] == "quantize.membrane"


@pytest.mark.parametrize(
    ("decay", "guard_bits", "least"), [(0.75, 1, 2), (0.9, 1, 3), (0.5, 0, 1), (1 - 2**-10, 8, 10)]
)
def test_guard_bits_below_the_leaks_need_are_an_error(decay: float, guard_bits: int, least: int) -> None:
    network = graph(synapse("c", "input"), neuron("n", "c", decay=decay))
    error = refusal(recipe(membrane=MembranePolicy(guard_bits=guard_bits)), network)
    assert f"guard_bits must be at least {least} for its decay of {decay:g} (got {guard_bits})" in str(error)


def test_decay_too_near_to_one_is_an_error() -> None:
    error = refusal(recipe(), graph(synapse("c", "input"), neuron("n", "c", decay=0.99999)))
    assert "neuron n: the decay must differ from 0 and 1 in 12 bits (got 0.99999)" in str(error)
    assert error.hints == ("give the neuron decay 1 if that is what it means",)


def test_two_rules_that_contradict_each_other_are_an_error_at_the_node() -> None:
    ternary = WeightPolicy(bit_width=1.58)
    error = refusal(recipe(Override(match="conv1", weight=WeightPolicy(narrow_range=False)), weight=ternary), PLAIN)
    assert "synapse conv1: narrow_range must be true at 1.58 bit" in str(error)
    assert error.hints == ("look at quantize.weight and quantize.overrides.0 (conv1)",)


@pytest.mark.parametrize(
    ("section", "node", "override", "says"),
    [
        ("weight", "synapse conv1", WeightPolicy(bit_width=1), "narrow_range must be true at 1 bit"),
        ("weight", "synapse conv1", WeightPolicy(bit_width=1.58), "narrow_range must be true at 1.58 bit"),
        ("membrane", "neuron lif1", MembranePolicy.model_construct({"bit_width"}, bit_width=40),
         "bit_width Input should be less than or equal to 16"),
        ("batch_norm", "synapse conv1", BatchNormPolicy.model_construct({"shift_bit_width"}, shift_bit_width=2),
         "shift_bit_width Input should be greater than or equal to 4"),
    ],
)  # fmt: skip
def test_contradiction_names_its_key_and_the_rules_of_its_section(
    section: str, node: str, override: WeightPolicy | MembranePolicy | BatchNormPolicy, says: str
) -> None:
    """Of the last two no recipe file can be made: they stand for rules that policies may get."""
    name = node.partition(" ")[2]
    of_all = Override(match="**", weight=WeightPolicy(narrow_range=False))
    own = of_all.model_copy(update={"match": name, "weight": None, section: override})
    error = refusal(recipe(of_all, own), PLAIN)
    assert f"{node}: {says}" in str(error)
    named = ["quantize.overrides.0 (**)"] if section == "weight" else []
    assert error.hints == (" and ".join([f"look at quantize.{section}", *named, f"quantize.overrides.1 ({name})"]),)


def test_node_without_membrane_has_no_guard_bits() -> None:
    with pytest.raises(PlanError, match="'conv1' is a synapse and has no guard bits"):
        _ = plan(recipe(), PLAIN).node("conv1").guard_bits


@pytest.mark.parametrize("name", shipped_recipes())
@pytest.mark.parametrize("network", [PLAIN, RESIDUAL], ids=["plain", "residual"])
def test_shipped_recipes_fit_any_network(name: str, network: SnnGraph) -> None:
    shipped = load_recipe(name)
    planned = plan(shipped, network)
    bits = list(weight_bits(planned).values())
    ends = 4 if name == "4bit_ends" else 8
    assert (bits[0], bits[-1]) == (ends, ends)
    assert set(bits[1:-1]) == {shipped.quantize.weight.bit_width}


def test_rows_of_a_dry_run_say_policy_and_rule() -> None:
    rows = format_plan(
        plan(
            recipe(
                Override(match="@first", weight=WeightPolicy(bit_width=8)),
                Override(match="layer1.conv", weight=WeightPolicy(bit_width=2, narrow_range=False),
                         batch_norm=BatchNormPolicy(mode="power_of_two")),
                Override(match="@last", batch_norm=BatchNormPolicy(mode="fold"),
                         weight=WeightPolicy(bit_width=1.58, scale="power_of_two", granularity="per_tensor")),
                Override(match="layer1.lif", membrane=MembranePolicy(rounding="floor", scale="calibrated")),
            ),
            PLAIN,
        ),
        PLAIN,
    )  # fmt: skip
    channel = "per channel, float scale, learned range"
    assert rows == (
        PlanRow("input", "input", "1x8x8", "8-bit input", "default"),
        PlanRow("conv1", "synapse", "4x8x8", f"8-bit weights {channel}; batch norm 8-bit scale, 16-bit offset",
                "quantize.overrides.0 (@first)"),
        PlanRow("lif1", "neuron", "4x8x8", "8-bit membrane, learned scale, 4 guard bits", "default"),
        PlanRow("layer1.conv", "synapse", "4x8x8",
                f"2-bit weights {channel}, full range; batch norm as a shift, 16-bit offset",
                "quantize.overrides.1 (layer1.conv)"),
        PlanRow("layer1.lif", "neuron", "4x8x8", "8-bit membrane, calibrated scale, 4 guard bits, floor",
                "quantize.overrides.3 (layer1.lif)"),
        PlanRow("pool", "pool", "4x4x4", "", ""),
        PlanRow("head.fc", "synapse", "4x8x8",
                "ternary weights per tensor, power-of-two scale, learned range; "
                "batch norm folded, 8-bit scale, 16-bit offset", "quantize.overrides.2 (@last)"),
        PlanRow("flatten", "flatten", "256", "", ""),
        PlanRow("output", "readout", "256", "", ""),
    )  # fmt: skip


def test_synapse_without_batch_norm_has_a_requantization() -> None:
    head = synapse("head.fc", "lif1")
    plain = replace(head, spec=replace(head.spec, batch_norm=None))
    network = graph(synapse("conv1", "input"), neuron("lif1", "conv1"), plain)
    rows = format_plan(plan(recipe(), network), network)
    words = {row.node: row.policy for row in rows}
    assert "; requantization 8-bit scale, 16-bit offset" in words["head.fc"]
    assert "; batch norm 8-bit scale, 16-bit offset" in words["conv1"]


def test_binary_weights_are_called_so() -> None:
    assert "binary weights" in format_plan(plan(recipe(weight=WeightPolicy(bit_width=1)), PLAIN), PLAIN)[1].policy


def test_yaml_of_a_plan_holds_every_field_with_its_origin() -> None:
    planned = plan(recipe(Override(match="@first", weight=WeightPolicy(bit_width=8))), PLAIN)
    tree = parse_tree(plan_to_yaml(planned), "plan.yaml")
    assert tree.problems == ()
    assert tree.at(("schema",)) == "mdcompress.plan/1"
    nodes = tree.at(("nodes",))
    assert isinstance(nodes, list)
    assert len(nodes) == len(planned)
    assert tree.at(("nodes", 1, "weight", "bit_width")) == 8
    assert tree.at(("nodes", 1, "origin", "weight.bit_width")) == "quantize.overrides.0 (@first)"
    assert tree.at(("nodes", 2, "membrane", "guard_bits")) == 4
    assert tree.at(("nodes", 2, "origin", "membrane.guard_bits")) == "automatic"
    assert tree.at(("nodes", 5)) == {"name": "pool", "kind": "pool", "shape": [4, 4, 4]}
    for index, node in enumerate(planned):
        fields = {f"{section}.{key}" for section, policy in node.policies.items() for key in policy.model_dump()}
        assert {name for name, _ in node.origin} == fields
        assert tree.at(("nodes", index, "name")) == node.name


@pytest.mark.parametrize("name", shipped_recipes())
def test_json_of_a_plan_reads_back_equal(name: str) -> None:
    planned = plan(load_recipe(name), RESIDUAL)
    again = plan_from_json(plan_to_json(planned))
    assert again == planned
    assert plan_to_json(again) == plan_to_json(planned)
    assert again.nodes[1].kind == "synapse"


def test_findings_are_kept_and_files_without_them_are_read() -> None:
    planned = plan(recipe(), PLAIN)
    assert "findings" not in plan_to_json(planned) and "findings" not in plan_to_yaml(planned)
    found = Finding("lif1", "net.py:3", "h = 0.5*v + x")
    read = planned.with_findings([found, Finding("of no node", "net.py:4", "")])
    assert read.findings == (found,)
    assert plan_from_json(plan_to_json(read)) == read
    tree = parse_tree(plan_to_yaml(read), "plan.yaml")
    assert tree.at(("findings",)) == [{"name": "lif1", "place": "net.py:3", "words": "h = 0.5*v + x"}]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-5],
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace('"bit_width":4', '"bit_width":40'),
        lambda text: text.replace('"synapse"', '"sinapse"'),
        lambda text: text.replace("mdcompress.plan/1", "mdcompress.plan/2"),
        lambda text: json.dumps({**json.loads(text), "plan": None}),
    ],
)
def test_damaged_json_of_a_plan_is_a_checkpoint_error(damage: object) -> None:
    assert callable(damage)
    with pytest.raises(CheckpointError, match=re.escape("the plan of a checkpoint must be")):
        plan_from_json(damage(plan_to_json(plan(recipe(), PLAIN))))
