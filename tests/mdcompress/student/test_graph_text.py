"""The float graph in a student's file: the text of every kind of node, as version 1 of the format has it."""

from __future__ import annotations

from typing import get_args

import pytest

from mdcompress.graph import (
    ActivationSpec,
    AddSpec,
    AffineSpec,
    Carries,
    ConcatSpec,
    FlattenSpec,
    InputSpec,
    MatMulSpec,
    MultiplySpec,
    NeuronModel,
    NodeKind,
    NodeSpec,
    PoolSpec,
    ReadoutSpec,
    RecurrentSpec,
    ReshapeSpec,
    ScaleSpec,
    SliceSpec,
    SnnGraph,
    SnnNode,
    SumSpec,
    SynapseSpec,
    TransposeSpec,
)
from mdcompress.student.graph_text import graph_from_json, graph_to_json

SYNAPSE = SynapseSpec("conv2d", (4, 2, 3, 3), (1, 1), (1, 1), (1, 1), 1, False, "norm")
SYNAPSE_TEXT = (
    '{"operator":"conv2d","weight_shape":[4,2,3,3],"stride":[1,1],"padding":[1,1],"dilation":[1,1],"groups":1,'
    '"bias":false,"batch_norm":"norm","output_padding":[],"step_norms":[],"step_scales":0}'
)
NEURON = NeuronModel((0.5, 0.25), 1.0, 0.0, 1e-05, "greater", "soft", 0.0, 1.0, 0.0, recurrent="fc")
NEURON_TEXT = (
    '{"decay":[0.5,0.25],"input_gain":1.0,"drive":0.0,"threshold":0.00001,"comparator":"greater","reset":"soft",'
    '"reset_value":0.0,"soft_amount":1.0,"initial":0.0,"synapse_decay":null,"synapse_gain":1.0,"spike":"binary",'
    '"max_spikes":1,"timing":"same_step","floor":"none","floor_value":0.0,"rearm":"plain","recurrent":"fc",'
    '"output":"spikes"}'
)
WRITTEN: dict[NodeSpec, tuple[str, str]] = {  # the word, and the spec, as the version before specs had the word wrote
    InputSpec(): ("input", "null"),
    SYNAPSE: ("synapse", SYNAPSE_TEXT),
    RecurrentSpec(SYNAPSE): ("recurrent", SYNAPSE_TEXT),
    AffineSpec("norm.0", ("norm.0", "norm.1")): (
        "affine",
        '{"batch_norm":"norm.0","step_norms":["norm.0","norm.1"],"step_scales":0}',
    ),
    ActivationSpec(): ("digitizer", "null"),
    NEURON: ("neuron", NEURON_TEXT),
    PoolSpec("average", (2, 2), (2, 2), (0, 0)): (
        "pool",
        '{"mode":"average","kernel":[2,2],"stride":[2,2],"padding":[0,0]}',
    ),
    AddSpec(): ("add", "null"),
    MultiplySpec("inhibit"): ("multiply", '{"mode":"inhibit"}'),
    ConcatSpec(): ("concat", "null"),
    MatMulSpec(): ("matmul", "null"),
    ScaleSpec(0.25): ("scale", '{"factor":0.25}'),
    SumSpec(1): ("sum", '{"axis":1}'),
    TransposeSpec((1, 0)): ("transpose", '{"permutation":[1,0]}'),
    ReshapeSpec(): ("reshape", "null"),
    SliceSpec(0, 1, 3): ("slice", '{"axis":0,"start":1,"stop":3}'),
    FlattenSpec(): ("flatten", "null"),
    ReadoutSpec("last"): ("readout", '{"mode":"last"}'),
}


def document(kind: str, spec: str) -> str:
    node = f'"name":"b.1","kind":"{kind}","inputs":["a"],"shape":[4,2],"carries":"spikes","spec":{spec}'
    return f'{{"nodes":[{{{node},"of":"b","calls":[0,2]}}],"time_steps":4}}'


def test_every_type_of_node_has_a_text_and_a_word_of_its_own() -> None:
    assert {type(spec) for spec in WRITTEN} == set(get_args(NodeSpec))
    assert [spec.kind for spec in get_args(NodeSpec)] == list(dict.fromkeys(spec.kind for spec in get_args(NodeSpec)))
    assert {spec.kind for spec in get_args(NodeSpec)} == set(get_args(NodeKind))


@pytest.mark.parametrize(("spec", "written"), WRITTEN.items(), ids=[spec.kind for spec in WRITTEN])
def test_every_node_is_written_as_before_and_reads_back_equal(spec: NodeSpec, written: tuple[str, str]) -> None:
    graph = SnnGraph((SnnNode("b.1", spec, ("a",), (4, 2), Carries.SPIKES, "b", (0, 2)),), 4)
    assert graph.nodes[0].kind == written[0]
    assert graph_to_json(graph) == document(*written)
    assert graph_from_json(document(*written)) == graph


@pytest.mark.parametrize(
    ("kind", "spec"),
    [("synapse", "null"), ("add", '{"axis":1}'), ("recurrent", '{"axis":1}'), ("sum", SYNAPSE_TEXT), ("pad", "null")],
)
def test_options_of_another_kind_are_refused(kind: str, spec: str) -> None:
    with pytest.raises((LookupError, ValueError)):
        graph_from_json(document(kind, spec))
