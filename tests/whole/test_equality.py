"""The product: student = interpreter = onnxruntime = native, on networks and policies that nobody picked."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings

from mdcompress.compression import compress
from mdcompress.evaluation.verification import verify
from mdcompress.recipe import Recipe
from tests.support.compilers import compile_as_shipped, header_read_before
from tests.support.networks import NETWORKS, NetworkDraw, make_input, make_network, recipes

DRAWN_NETWORKS = 180
_seen = {"networks": 0, "spikes": 0}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Flags of a compiler that has read its long header already."""
    return header_read_before(tmp_path_factory.mktemp("header"))


@settings(
    max_examples=DRAWN_NETWORKS,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
@given(draw=NETWORKS, recipe=recipes())
def test_drawn_students_equal_interpreter_and_onnxruntime(
    prepared: tuple[str, ...], draw: NetworkDraw, recipe: Recipe
) -> None:
    network, calibration = make_network(draw)
    student = compress(network, calibration[:, :1], recipe, [calibration])
    unseen = 1.5 * make_input(draw, samples=draw.batch)  # beyond the calibrated range, so that inputs saturate
    with pytest.MonkeyPatch.context() as patch:
        if _seen["networks"] % 2:  # every second one with the vector instructions of users' code
            compile_as_shipped(patch, *prepared)
        report = verify(student, torch.cat([calibration, unseen], dim=1))
    assert report.equal, str(report)
    _seen["networks"] += 1
    _seen["spikes"] += report.spikes > 0


def test_the_drawn_networks_were_enough_and_fired() -> None:
    assert _seen["networks"] >= DRAWN_NETWORKS and _seen["spikes"] >= 160, _seen


def test_a_training_step_keeps_the_student_equal_to_its_graph() -> None:
    """Learned scales, norm statistics and weights move; the exported graph must follow them exactly."""
    from mdcompress import zoo

    torch.manual_seed(0)
    x = torch.rand(4, 8, 1, 8, 8)
    student = compress(zoo.digits_snn(channels=8), x, "4bit", [x])
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05)
    before = [parameter.detach().clone() for parameter in student.parameters()]
    for _ in range(3):
        optimizer.zero_grad()
        student.train()(x).square().mean().backward()
        optimizer.step()
    moved = [not torch.equal(old, new) for old, new in zip(before, student.parameters(), strict=True)]
    assert all(moved), "a parameter has no gradient"
    report = verify(student, x)
    assert report.equal and report.spikes > 0
