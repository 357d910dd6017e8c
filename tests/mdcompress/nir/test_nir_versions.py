"""What every version of nir holds, 1.0.4 with sinabs included: plain neurons that reset to 0."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import mdcompress as md

nir = pytest.importorskip("nir")


def test_plain_neurons_go_in_and_out_of_any_version(tmp_path: Path) -> None:
    random, ones = np.random.default_rng(0), np.ones(9)
    graph = nir.NIRGraph.from_list(
        nir.Affine(random.normal(0.1, 0.4, (9, 6)), 0.1 * ones),
        nir.LIF(tau=2 * ones, r=ones, v_leak=0 * ones, v_threshold=0.4 * ones),
        nir.Linear(random.normal(0.1, 0.4, (9, 9))),
        nir.IF(r=ones, v_threshold=ones),
    )
    nir.write(tmp_path / "float.nir", graph)
    options = {"dt": 1.0, "discretization": "euler", "reset": "hard", "comparator": "greater"}
    network, x = md.from_nir(tmp_path / "float.nir", None, **options), torch.rand(8, 20, 6)
    student = md.compress(network, x, md.load_recipe("8bit"), [x])
    assert md.verify(student, x).equal
    md.write_nir(md.to_nir(student), tmp_path / "model.nir")
    assert md.integers_from_nir(tmp_path / "model.nir") == md.lower(student)
    found, exact = md.from_nir(tmp_path / "model.nir")(x), list(student.trace(x).spikes.values())[-1]
    assert float((found == torch.as_tensor(exact)).float().mean()) > 0.95 and found.any()
