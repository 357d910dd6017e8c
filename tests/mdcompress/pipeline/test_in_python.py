"""The whole job in one call, on batches of images as torchvision's loaders give them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import intsnn
import mdcompress as md
from intsnn.errors import InputError, UsageError
from mdcompress.data.still import OverSteps, over_steps, repeated
from mdcompress.errors import DataError, RunError, TraceError
from mdcompress.recipe import Recipe

SHORT = ["distill.epochs=1", "data.calibration_samples=16"]


class Still(nn.Module):
    """One image in, four steps inside."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.neuron, self.head = nn.Conv2d(1, 4, 3), md.zoo.LIF(threshold=0.2), nn.Linear(4 * 9, 3)

    def forward(self, image: Tensor) -> Tensor:
        x = self.conv(image.unsqueeze(0).expand(4, *image.shape).flatten(0, 1)).unflatten(0, (4, -1))
        answer: Tensor = self.head(self.neuron(x).flatten(2)).mean(0)
        return answer


def still() -> nn.Module:
    torch.manual_seed(0)
    return Still().eval()


def images(samples: int = 24) -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(
        torch.rand(samples, 1, 5, 5, generator=generator), torch.randint(0, 3, (samples,), generator=generator)
    )


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return md.load_recipe("4bit", changes=SHORT)


def test_one_call_gives_what_the_commands_write(recipe: Recipe, tmp_path: Path) -> None:
    loader = DataLoader(images(), batch_size=8)
    network = still()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = md.run(network, recipe, train=loader, test=loader, time_steps=4, folder=tmp_path / "out")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert found.parity.equal and found.parity.spikes > 0 and found.distilled.samples == 24
    assert intsnn.read_onnx(tmp_path / "out/model.onnx") == found.graph == md.lower(found.student)
    x = torch.rand(4, 3, 1, 5, 5)
    assert torch.equal(md.load_student(tmp_path / "out/distilled.safetensors")(x), found.student(x))
    names = {"distilled.safetensors", "plan.yaml", "model.onnx", "golden.npz", "activity.json", "hardware.json"}
    assert names <= {path.name for path in (tmp_path / "out").iterdir()}
    assert found.hardware.energy_pj > 0 and found.sizes.compression.ratio("float32") > 3
    lines = {name: words.strip() for name, _, words in (line.partition(" ") for line in str(found).splitlines())}
    assert lines["parity"].startswith("student = interpreter")
    assert [record.epoch for record in found.history] == [0, 1]
    best = max(found.history, key=lambda record: (record.validation_accuracy, -record.validation_loss))
    said = f"epoch {best.epoch} of 1:" if best.epoch else "the calibrated student, epoch 0 of 1:"
    assert lines["kept"].startswith(said)
    figures = r"energy [\d.]+ \w+, latency [\d.]+ \w+, area [\d.]+ \w+ on rram_64x64_65nm"
    assert re.fullmatch(figures, lines["hardware"])
    with pytest.raises(RunError, match="must not hold the result of a run yet"):
        md.run(network, recipe, train=loader, test=loader, time_steps=4, folder=tmp_path / "out")


def test_images_at_every_step_are_the_same_as_batches_over_time(recipe: Recipe) -> None:
    x, _ = next(iter(DataLoader(images(), batch_size=8)))
    one, other = (
        md.compress(still(), x, recipe, [x], time_steps=4),
        md.compress(still(), repeated(x, 4), recipe, [repeated(x, 4)]),
    )
    assert md.lower(one) == md.lower(other)


def test_a_loader_over_steps_has_time_first_and_knows_its_length() -> None:
    loader = DataLoader(images(), batch_size=10)
    over = over_steps(loader, 3)
    assert len(over) == 3 and [tuple(x.shape) for x, _ in over] == [(3, 10, 1, 5, 5), (3, 10, 1, 5, 5), (3, 4, 1, 5, 5)]
    assert over_steps(loader, None) is loader
    with pytest.raises(DataError, match="images without time"):
        next(iter(OverSteps([(torch.zeros(3, 10, 1, 5, 5), torch.zeros(10, dtype=torch.int64))], 3)))
    with pytest.raises(UsageError, match="time_steps must be at least 1"):
        repeated(torch.zeros(2, 3), 0)


def test_a_student_is_printed_as_a_table_of_layers_with_bits(recipe: Recipe) -> None:
    x, _ = next(iter(DataLoader(images(), batch_size=8)))
    lines = str(md.compress(still(), x, recipe, [x], time_steps=4)).split("\n")
    assert lines[0] == f"Student of 6 nodes and {4 * 9 + 36 * 3} weights, T = 4"
    rows = {line.split()[0]: line for line in lines[1:]}
    assert "requantization 8-bit scale" in rows["conv"] and "batch norm" not in "".join(lines)
    assert "36" in rows["conv"] and "8-bit weights" in rows["conv"]
    assert "4-bit membrane" in rows["neuron"] and "Brevitas" not in "".join(lines)


def test_what_a_network_does_not_take_says_how_it_is_wrapped() -> None:
    loader = [(x, y) for x, y in DataLoader(images(), batch_size=8)]
    over = [(repeated(x, 4), y) for x, y in loader]
    for wrong in (lambda: md.evaluate(still(), over), lambda: md.trace(still(), over[0][0])):
        with pytest.raises((InputError, TraceError), match=r"StillImage\(network\)"):
            wrong()
    assert md.evaluate(md.StillImage(still()), over).samples == 24


def test_images_without_time_and_a_device_that_is_not_there_are_errors(recipe: Recipe) -> None:
    x, y = next(iter(DataLoader(images(), batch_size=8)))
    student = md.compress(still(), x, recipe, [x], time_steps=4)
    with pytest.raises(InputError, match="images without time: give time_steps=T"):
        md.distill(student, teacher=still(), train=[(x, y)], validate=[(x, y)], spec=recipe.distill)
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="device must be one that torch can use here"):
            md.run(still(), recipe, train=[(x, y)], test=[(x, y)], time_steps=4, device="cuda")


def test_a_teacher_as_its_owner_wrote_it_is_called_as_it_wants(recipe: Recipe) -> None:
    x, y = next(iter(DataLoader(images(), batch_size=8)))
    batches = [(repeated(x, 4), y)]
    wrapped, own = (md.compress(still(), x, recipe, [x], time_steps=4) for _ in range(2))
    for student, teacher in ((wrapped, md.StillImage(still())), (own, still())):
        md.distill(student, teacher=teacher, train=batches, validate=batches, spec=recipe.distill)
    assert md.lower(wrapped) == md.lower(own)
