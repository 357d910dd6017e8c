"""Files of weights: what goes round unchanged, and what is refused without running anything."""

from __future__ import annotations

import copy
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from intsnn.errors import MissingFileError
from mdcompress.compression import compress
from mdcompress.errors import CheckpointError
from mdcompress.recipe import Recipe
from mdcompress.student import Student
from mdcompress.student.lowering import lower
from mdcompress.student.weights import load_student, load_weights, restore, save_student, save_weights
from mdcompress.tracing import BatchFirst, Stepped, StillImage
from mdcompress.zoo import digits_snn


def data() -> Tensor:
    return torch.rand(3, 4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def network() -> nn.Module:
    torch.manual_seed(0)
    return digits_snn(channels=4)


@pytest.fixture(scope="module")
def student() -> Student:
    return compress(network(), data(), "4bit", [data()])


def outputs(module: nn.Module) -> Tensor:
    with torch.no_grad():
        result: Tensor = copy.deepcopy(module).eval()(data())
    return result


# --- round trips -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelled", [str, Path])
def test_a_network_goes_round_bit_by_bit(tmp_path: Path, spelled: type[str] | type[Path]) -> None:
    original, other = network(), digits_snn(channels=4)
    path = spelled(tmp_path / "network.safetensors")
    save_weights(original, path, provenance={"recipe": "none"})
    load_weights(other, path)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in original.state_dict().items())
    assert torch.equal(outputs(original), outputs(other))
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"format": "mdcompress.network/1", "recipe": "none"}


@pytest.mark.parametrize("spelled", [str, Path])
def test_a_student_goes_round_bit_by_bit_from_its_file_alone(
    tmp_path: Path, student: Student, spelled: type[str] | type[Path]
) -> None:
    path = spelled(tmp_path / "student.safetensors")
    save_student(student, path)
    found = load_student(path)
    assert not found.training and found.graph == student.graph and found.plan == student.plan
    assert all(torch.equal(value, found.state_dict()[name]) for name, value in student.state_dict().items())
    assert torch.equal(outputs(student), outputs(found))
    assert lower(found) == lower(student)
    trains = {name: p.requires_grad for name, p in student.named_parameters()}
    assert {name: p.requires_grad for name, p in found.named_parameters()} == trains


@pytest.mark.parametrize(
    "quantize",
    [
        {"weight": {"bit_width": 1}, "membrane": {"bit_width": 2, "scale": "calibrated"}},
        {"weight": {"bit_width": 1.58, "scale": "power_of_two", "range": "mse"}, "batch_norm": {"mode": "fold"}},
        {"weight": {"range": "max", "granularity": "per_tensor"}, "batch_norm": {"mode": "power_of_two"}},
    ],
)
def test_students_of_every_policy_go_round(tmp_path: Path, quantize: dict[str, object]) -> None:
    recipe = Recipe.model_validate({"name": "r", "quantize": quantize})
    student = compress(network(), data(), recipe, [data()])
    save_student(student, tmp_path / "s.safetensors")
    assert lower(load_student(tmp_path / "s.safetensors")) == lower(student)


def test_equal_students_are_equal_files(tmp_path: Path, student: Student) -> None:
    for name in ("one", "two"):
        save_student(copy.deepcopy(student), tmp_path / name, provenance={"b": "2", "a": "1"})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("wrapped", ["", "state_dict", "model", "model_state_dict", "net"])
@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_foreign_checkpoints_of_tensors_are_read(tmp_path: Path, wrapped: str, suffix: str) -> None:
    original, other = network(), digits_snn(channels=4)
    state = original.state_dict()
    torch.save({wrapped: state, "epoch": 3} if wrapped else state, tmp_path / f"net{suffix}")
    load_weights(other, tmp_path / f"net{suffix}")
    assert torch.equal(outputs(original), outputs(other))


def test_loading_fills_the_networks_own_tensors(tmp_path: Path, student: Student) -> None:
    """An optimizer made before loading still holds the parameters."""
    save_weights(network(), tmp_path / "n.safetensors")
    target = digits_snn(channels=4)
    held = list(target.parameters())
    load_weights(target, tmp_path / "n.safetensors")
    assert all(one is other for one, other in zip(held, target.parameters(), strict=True))


def test_restoring_asks_for_the_same_names_and_shapes() -> None:
    state = nn.Linear(2, 3).state_dict()
    with pytest.raises(ValueError, match="'bias' first"):
        restore(nn.Linear(2, 3, bias=False), state)
    with pytest.raises(ValueError, match=r"shape \[3, 2\], not \[3, 4\]"):
        restore(nn.Linear(4, 3), state)


# --- files that are damaged ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, share: float, suffix: str) -> None:
    path = tmp_path / f"net{suffix}"
    if suffix == ".pt":
        torch.save(network().state_dict(), path)
    else:
        save_weights(network(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    target = network()
    before = copy.deepcopy(target.state_dict())
    with pytest.raises(CheckpointError, match=r"whole (safetensors )?file") as caught:
        load_weights(target, path)
    assert str(path) in caught.value.message and caught.value.hints
    assert all(torch.equal(value, target.state_dict()[name]) for name, value in before.items())


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_student_cut_anywhere_is_refused(tmp_path: Path, student: Student, share: float) -> None:
    path = tmp_path / "s.safetensors"
    save_student(student, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match="whole safetensors file"):
        load_student(path)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_noise_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"noise{suffix}"
    for content in (b"", b"\x00", b"hello", bytes(range(256)) * 8, b"\xff" * 64, b"{}"):
        path.write_bytes(content)
        with pytest.raises(CheckpointError):
            load_weights(network(), path)


class _Payload:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.witness}",)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(
    tmp_path: Path, suffix: str, protocol: int, zipped: bool
) -> None:
    witness, path = tmp_path / "ran", tmp_path / f"evil{suffix}"
    content = {"weight": torch.zeros(1), "evil": _Payload(witness)}
    if zipped:
        torch.save(content, path, pickle_protocol=protocol)
    else:
        path.write_bytes(pickle.dumps(content, protocol=protocol))
    with pytest.raises(CheckpointError) as caught:
        load_weights(network(), path)
    if suffix == ".safetensors":
        with pytest.raises(CheckpointError, match="pickle, which can run code"):
            load_student(path)
        assert "found a pickle, which can run code" in caught.value.message
    assert not witness.exists()


# --- files of something else -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"epoch": 3}, torch.zeros(2), {"state_dict": {"a": 1}}])
def test_a_checkpoint_that_is_no_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match="must hold a state dict of tensors"):
        load_weights(network(), tmp_path / "odd.pt")


def test_what_an_odd_checkpoint_holds_is_named(tmp_path: Path) -> None:
    torch.save({"student": {"a": torch.zeros(1)}, "epoch": 3}, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match=r"found a dict of 'student': dict, 'epoch': int"):
        load_weights(network(), tmp_path / "odd.pt")


def test_weights_of_another_network_are_refused_with_the_differences(tmp_path: Path) -> None:
    path = tmp_path / "n.safetensors"
    save_weights(network(), path)
    with pytest.raises(CheckpointError) as caught:
        load_weights(digits_snn(channels=8), path)
    assert "of another shape: stem.conv.weight is [4, 1, 3, 3], not [8, 1, 3, 3]" in caught.value.message
    assert "and " in caught.value.message and "more" in caught.value.message
    with pytest.raises(
        CheckpointError, match=r"missing: 0\.weight, 0\.bias; not known: conv3\.conv\.weight, .* and 17 more"
    ):
        load_weights(nn.Sequential(nn.Linear(1, 1)), path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_must_be_finite(tmp_path: Path, student: Student, value: float) -> None:
    broken = network()
    with torch.no_grad():
        broken.get_parameter("head.bias")[0] = value
    save_weights(broken, tmp_path / "n.safetensors")
    with pytest.raises(CheckpointError, match=r"all weights must be finite, but 'head\.bias' holds NaN"):
        load_weights(network(), tmp_path / "n.safetensors")
    lost = copy.deepcopy(student)
    with torch.no_grad():
        lost.synapse("head").layer.weight[0] = value
    save_student(lost, tmp_path / "s.safetensors")
    with pytest.raises(CheckpointError, match="must be finite"):
        load_student(tmp_path / "s.safetensors")


def test_students_and_networks_are_not_mixed_up(tmp_path: Path, student: Student) -> None:
    save_weights(network(), tmp_path / "n.safetensors")
    save_student(student, tmp_path / "s.safetensors")
    save_file(network().state_dict(), tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match=r"must be a student .* its format is 'mdcompress.network/1'") as caught:
        load_student(tmp_path / "n.safetensors")
    assert "--weights" in caught.value.hints[0]
    with pytest.raises(CheckpointError, match="its format is 'not given'"):
        load_student(tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="must hold the weights of a float network") as caught:
        load_weights(network(), tmp_path / "s.safetensors")
    assert "mdcompress.load_student(path)" in caught.value.hints[0]
    load_weights(network(), tmp_path / "foreign.safetensors")


def rewritten(path: Path, **metadata: str | None) -> None:
    """The student's file with other metadata (None: left out)."""
    with safe_open(path, framework="pt") as file:
        kept = {**file.metadata(), **metadata}
    save_file(load_file(path), path, metadata={key: value for key, value in kept.items() if value is not None})


@pytest.mark.parametrize(
    "metadata",
    [
        {"graph": None},
        {"graph": "{}"},
        {"graph": '{"nodes": [], "time_steps": 4}'},
        {"plan": None},
        {"plan": "not json"},
        {"plan": '{"schema": "mdcompress.plan/1", "plan": {"nodes": []}}'},
    ],
)
def test_a_damaged_description_is_refused(tmp_path: Path, student: Student, metadata: dict[str, str | None]) -> None:
    path = tmp_path / "s.safetensors"
    save_student(student, path)
    rewritten(path, **metadata)
    with pytest.raises(CheckpointError, match="damaged description of its student") as caught:
        load_student(path)
    assert "quantize again" in caught.value.hints[0]


def test_tensors_that_do_not_fit_the_description_are_refused(tmp_path: Path, student: Student) -> None:
    path = tmp_path / "s.safetensors"
    save_student(student, path)
    other = compress(digits_snn(channels=8), data(), "4bit", [data()])
    save_student(other, tmp_path / "other.safetensors")
    with safe_open(tmp_path / "other.safetensors", framework="pt") as file:
        graph = file.metadata()["graph"]
    rewritten(path, graph=graph)
    with pytest.raises(CheckpointError, match="does not fit its own description"):
        load_student(path)


@pytest.mark.parametrize("load", [load_student, lambda path: load_weights(network(), path)])
@pytest.mark.parametrize("name", ["none.safetensors", "none.pt", "folder.safetensors", "folder.pt"])
def test_a_missing_file_or_a_folder_is_named(tmp_path: Path, load: Callable[[Path], object], name: str) -> None:
    if name.startswith("folder"):
        (tmp_path / name).mkdir()
    with pytest.raises(MissingFileError, match="no such file"):
        load(tmp_path / name)


def test_a_folder_that_is_missing_is_named_and_nothing_is_left_behind(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="must exist"):
        save_weights(network(), tmp_path / "none" / "n.safetensors")
    assert not list(tmp_path.iterdir())


def test_names_that_data_parallel_wraps_are_unwrapped(tmp_path: Path) -> None:
    original, other = network(), digits_snn(channels=4)
    wrapped = {f"module.{name}": value for name, value in original.state_dict().items()}
    torch.save(wrapped, tmp_path / "wrapped.pt")
    load_weights(other, tmp_path / "wrapped.pt")
    assert torch.equal(outputs(original), outputs(other))


def test_names_of_which_only_some_are_wrapped_are_an_error(tmp_path: Path) -> None:
    names = list(network().state_dict())
    tensors = {f"module.{name}" if name == names[0] else name: v for name, v in network().state_dict().items()}
    torch.save(tensors, tmp_path / "half.pt")
    with pytest.raises(CheckpointError, match=f"not known: module.{names[0]}"):
        load_weights(digits_snn(channels=4), tmp_path / "half.pt")


# --- norms -----------------------------------------------------------------------------------------------------------


def test_a_student_keeps_eps_and_momentum_of_its_norms(tmp_path: Path) -> None:
    own = network()
    for norm in own.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eps, norm.momentum = 0.5, 0.3
    student = compress(own, data(), "8bit", [data()])
    save_student(student, tmp_path / "student.safetensors")
    again = load_student(tmp_path / "student.safetensors")
    assert lower(again) == lower(student)
    norms = [norm for norm in again.modules() if isinstance(norm, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(0.5, 0.3)} and norms


def test_norms_of_torchs_defaults_write_nothing(student: Student, tmp_path: Path) -> None:
    save_student(student, tmp_path / "student.safetensors")
    with safe_open(tmp_path / "student.safetensors", framework="pt") as file:
        assert "norms" not in file.metadata()


def test_damaged_norms_of_a_student_are_refused(student: Student, tmp_path: Path) -> None:
    path = tmp_path / "student.safetensors"
    save_student(
        student, path, provenance={"norms": '{"nowhere": {"eps": 1.0, "momentum": 0.1, "follows_batches": true}}'}
    )
    with pytest.raises(CheckpointError, match="damaged description"):
        load_student(path)


@pytest.mark.parametrize("wrapper", [Stepped, BatchFirst, StillImage])
def test_a_wrapped_network_is_saved_under_its_own_names(wrapper: type[nn.Module], tmp_path: Path) -> None:
    own = network()
    save_weights(wrapper(own), tmp_path / "network.safetensors")
    assert load_file(tmp_path / "network.safetensors").keys() == own.state_dict().keys()


# --- numbers that would become others --------------------------------------------------------------------------------

WEIGHT = "stem.conv.weight"


def with_weight(change: Callable[[Tensor], Tensor]) -> dict[str, object]:
    state = network().state_dict()
    return {**state, WEIGHT: change(state[WEIGHT])}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: torch.full_like(w, 1e300, dtype=torch.float64), "holds float64 that do not"),
        (lambda w: torch.full_like(w, float("nan"), dtype=torch.float64), "holds NaN or infinity"),
        (lambda w: torch.full(w.shape, complex(float("nan"), 0), dtype=torch.complex64), "holds complex64 that do not"),
        (lambda w: torch.full(w.shape, complex(1, 5), dtype=torch.complex64), "holds complex64 that do not"),
        (lambda w: torch.ones_like(w, dtype=torch.bool), "holds bool that do not"),
        (lambda w: w.to_sparse(), f"{WEIGHT} is sparse"),
        (lambda w: w.flatten(1).to_sparse_csr(), f"{WEIGHT} is sparse"),
        (lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8), f"{WEIGHT} is quantized"),
        (lambda w: w.to("meta"), f"{WEIGHT} is without values"),
        (lambda w: torch.nested.nested_tensor([w[0], w[0, :, :2]]), f"{WEIGHT} is nested"),
        (lambda w: w[:1, :1, :1, :1].expand(1000, 1000, 1000, 1), f"{WEIGHT} is \\[1000, 1000, 1000, 1\\]"),
    ],
    ids=["1e300", "nan64", "complex nan", "complex", "bool", "coo", "csr", "quantized", "meta", "nested", "expanded"],
)
@pytest.mark.filterwarnings("ignore")  # torch's own, of tensors that are prototypes or deprecated there
def test_numbers_that_the_network_cannot_hold_are_an_error_and_nothing_changes(
    tmp_path: Path, change: Callable[[Tensor], Tensor], words: str
) -> None:
    torch.save(with_weight(change), tmp_path / "net.pt")
    target = network()
    before = copy.deepcopy(target.state_dict())
    with pytest.raises(CheckpointError, match=words):
        load_weights(target, tmp_path / "net.pt")
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_floats_of_another_width_are_rounded_as_torch_does(tmp_path: Path, kind: torch.dtype) -> None:
    torch.save(with_weight(lambda weight: weight.to(kind)), tmp_path / "net.pt")
    target = digits_snn(channels=4)
    load_weights(target, tmp_path / "net.pt")
    assert torch.equal(target.state_dict()[WEIGHT], network().state_dict()[WEIGHT].to(kind).float())


def test_a_count_that_is_no_integer_is_an_error(tmp_path: Path) -> None:
    name = "stem.norm.num_batches_tracked"
    torch.save({**network().state_dict(), name: torch.tensor(1.5)}, tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match=f"{name}.*int64 there, holds float32"):
        load_weights(network(), tmp_path / "net.pt")


@pytest.mark.parametrize("key", [0, b"bytes", None, ("a", 1), 1.5, True])
def test_a_key_that_is_no_text_is_no_tensor_of_the_network(tmp_path: Path, key: object) -> None:
    content: dict[object, Tensor] = {key: torch.zeros(1)}
    entries: list[tuple[object, Tensor]] = [*content.items(), *network().state_dict().items()]
    torch.save(dict(entries), tmp_path / "net.pt")
    target = digits_snn(channels=4)
    load_weights(target, tmp_path / "net.pt")
    assert torch.equal(outputs(target), outputs(network()))
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="must hold a state dict of tensors"):
        load_weights(target, tmp_path / "other.pt")


def test_a_dictionary_that_a_file_names_a_million_times_is_walked_once(tmp_path: Path) -> None:
    """Three levels of 300 keys each, all the same object: 27 million places in a file of a few kilobytes."""
    inner: dict[str, object] = {"x": 1}
    for _ in range(3):
        inner = {str(number): inner for number in range(300)}
    torch.save(inner, tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match="must hold a state dict of tensors"):
        load_weights(network(), tmp_path / "net.pt")


@pytest.mark.parametrize("kind", ["network", "student"])
def test_a_negative_variance_is_an_error(tmp_path: Path, student: Student, kind: str) -> None:
    path = tmp_path / "file.safetensors"
    save_student(student, path) if kind == "student" else save_weights(network(), path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("norm.running_var"))
    save_file({**tensors, name: tensors[name] - 100}, path, metadata=metadata)
    with pytest.raises(CheckpointError, match=f"a variance must not be negative, but '{name}' holds -"):
        load_student(path) if kind == "student" else load_weights(network(), path)


def test_a_student_whose_tensor_has_another_type_is_an_error(tmp_path: Path, student: Student) -> None:
    path = tmp_path / "file.safetensors"
    save_student(student, path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    save_file(
        {**tensors, "layers.head.layer.bias": tensors["layers.head.layer.bias"].double()}, path, metadata=metadata
    )
    with pytest.raises(CheckpointError, match=r"of another type: layers\.head\.layer\.bias is torch\.float64"):
        load_student(path)


def test_an_archive_whose_directory_is_damaged_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save(network().state_dict(), path)
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02")
    content[at + 46 : at + 48] = b"\xff\xff"  # behind the fixed part: a name and extra fields of another length
    content[at + 30 : at + 32] = b"\x10\x00"
    path.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match=r"net\.pt"):
        load_weights(network(), path)


def test_a_compressed_archive_is_an_error_before_it_is_expanded(tmp_path: Path) -> None:
    path, packed = tmp_path / "net.pt", tmp_path / "packed.pt"
    torch.save({**network().state_dict(), "zeros": torch.zeros(1_000_000)}, path)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(CheckpointError, match="not compressed"):
        load_weights(network(), packed)


def test_an_archive_that_names_the_same_bytes_again_and_again_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save({"x": torch.zeros(100_000)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        one = archive.getinfo("net/data/0")
        for number in range(1, 9):
            other = copy.copy(one)
            other.filename = other.orig_filename = f"net/data/{number}"
            archive.filelist.append(other)
        archive.writestr("net/more", b"")  # so that the list is written again
    assert path.stat().st_size < 500_000
    with pytest.raises(CheckpointError, match="must hold all that it names"):
        load_weights(network(), path)


def test_a_storage_larger_than_its_file_is_an_error_before_memory_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save({"x": torch.zeros(70_000)}, path, _use_new_zipfile_serialization=False)
    content, size = path.read_bytes(), (70_000).to_bytes(4, "little")
    assert size in content
    path.write_bytes(content.replace(size, (0x7FFFFFFF).to_bytes(4, "little")))
    with pytest.raises(CheckpointError, match="must hold the 2,147,483,647 numbers"):
        load_weights(network(), path)
