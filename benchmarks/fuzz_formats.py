"""Every format that a command reads: a whole file of it, and the reader's own words for what it holds.

A reader gives a text that is equal where the meaning is equal. Of formats with a digest of ours any other text is a
silent change: the digest must have told.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fuzz_mutations import Container

Writer = Callable[[Path], None]
Reader = Callable[[Path], str]


@dataclass(frozen=True)
class Format:
    """One format: its name, the file's name, what is around its values, and whether a digest of ours is in it."""

    name: str
    file: str
    container: Container
    write: Writer
    read: Reader
    has_digest: bool = False


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


# ------------------------------------------------------------------ descriptions and records


def _write_recipe(path: Path) -> None:
    path.write_bytes((Path(__file__).parents[1] / "recipes" / "4bit.yaml").read_bytes())


def _read_recipe(path: Path) -> str:
    from mdcompress.recipe import load_recipe

    return repr(load_recipe(path))


def _write_hardware(name: str) -> Writer:
    def write(path: Path) -> None:
        import intsnn.hardware

        path.write_bytes((Path(intsnn.hardware.__file__).parent / f"{name}.yaml").read_bytes())

    return write


def _read_hardware(path: Path) -> str:
    """What `check` says, and the report of `estimate-hw` on a small graph: a price must not overflow it."""
    from intsnn.activity import assume
    from intsnn.estimation.estimation import estimate
    from intsnn.hardware import HardwareSpec, load_hardware
    from intsnn.report import to_json
    from mdcompress.cli.check import verdict
    from tests.support.intgraphs import dense_graph

    found = verdict(path)
    if found.error is not None:
        raise found.error
    hardware = load_hardware(path)
    if not isinstance(hardware, HardwareSpec):
        return repr(hardware)
    graph = dense_graph()
    return _hash(repr(hardware), to_json(estimate(graph, assume(graph, rate=0.1, time_steps=4), hardware)))


def _write_analog(path: Path) -> None:
    import intsnn.analog

    path.write_bytes((Path(intsnn.analog.__file__).parent / "rram_wan_1day.yaml").read_bytes())


def _read_analog(path: Path) -> str:
    from intsnn.analog.spec import load_analog

    return repr(load_analog(path))


def _write_record(path: Path) -> None:
    path.write_bytes((Path(__file__).parents[1] / "tests" / "data" / "earlier_run" / "run.json").read_bytes())


def _read_record(path: Path) -> str:
    from mdcompress.runs.manifest import Stage, read_manifest, stale_reasons

    manifest = read_manifest(path.parent)
    return repr((manifest, [stale_reasons(path.parent, stage, {}) for stage in Stage]))


def _write_history(path: Path) -> None:
    from mdcompress.training import EpochRecord, Validation, write_history
    from mdcompress.training.history import untrained

    def scored(accuracy: float) -> tuple[Validation, ...]:
        return (Validation(4, accuracy, 0.5, 0.75),)

    losses = {"total": 0.75, "task": 0.5, "membrane": 0.25, "membrane/neuron1": 0.25}
    first = EpochRecord(1, 1, 0.001, losses, 0.875, scored(0.75), seconds=1.5)
    write_history([untrained(scored(0.5), epochs=1), first], path)


def _read_history(path: Path) -> str:
    from mdcompress.pipeline.pages.histories import read_curves

    return repr(read_curves(path))


def _write_mismatch(path: Path) -> None:
    from mdcompress.evaluation.mismatch import LayerMismatch, MismatchReport

    before, after = LayerMismatch(0.5, 0.25, 0.125, 0.125), LayerMismatch(0.25, 0.25, 0.25, 0.0625)
    path.write_text(MismatchReport(4, 359, {"neuron1": before}, {"neuron1": after}).to_json(), "utf-8")


def _read_mismatch(path: Path) -> str:
    from mdcompress.pipeline.pages.facts import read_mismatch

    return repr(read_mismatch(path))


def _write_totals(path: Path) -> None:
    from intsnn.activity import assume
    from intsnn.estimation.estimation import estimate
    from intsnn.report import to_json
    from tests.support.intgraphs import dense_graph

    graph = dense_graph()
    path.write_text(to_json(estimate(graph, assume(graph, rate=0.1, time_steps=4), "rram_64x64_65nm")), "utf-8")


def _read_totals(path: Path) -> str:
    from mdcompress.pipeline.pages.facts import read_totals

    return repr(read_totals(path))


def _write_accuracies(path: Path) -> None:
    path.write_text("bit_width,accuracy\n1,0.5\n2,0.75\n4,0.875\n8,1.0\n".replace("bit_width", "adc_bits"), "utf-8")


def _read_accuracies(path: Path) -> str:
    from intsnn.exploration import files

    found = files.read_accuracies(path)
    return repr(vars(found))


def _write_journal(path: Path) -> None:
    from tests.support.search_cases import evaluated, opened

    opened(path.parent).work(evaluated, trials=4, tell=lambda number, found: None)


def _read_journal(path: Path) -> str:
    from tests.support.search_cases import opened

    study = opened(path.parent)
    trials = [(one.number, one.state, one.params, one.values) for one in study.study.get_trials()]
    return repr((study.starts, trials))


def _write_trial(path: Path) -> None:
    from mdcompress.search.outcome import outcome_bytes
    from tests.support.search_cases import STARTS, evaluated

    path.write_bytes(outcome_bytes(evaluated(STARTS[1].indices)))


def _read_trial(path: Path) -> str:
    from mdcompress.search.outcome import read_outcome

    return repr(read_outcome(path))


# ------------------------------------------------------------------ the integer network


def _write_onnx(path: Path) -> None:
    from intsnn.onnx.file import write_onnx
    from tests.support.intgraphs import residual_graph

    write_onnx(residual_graph(), path)


def _read_onnx(path: Path) -> str:
    from intsnn.graph.fingerprint import digest
    from mdcompress.cli.check import verdict

    found = verdict(path)
    if found.error is not None:
        raise found.error
    from intsnn.onnx.file import read_onnx

    return digest(read_onnx(path))


def _write_golden(path: Path) -> None:
    from intsnn.execution.golden import write_golden
    from tests.support.intgraphs import random_input, residual_graph

    write_golden(residual_graph(), path, x=random_input(residual_graph(), time_steps=4))


def _read_golden(path: Path) -> str:
    from intsnn.execution.golden import golden_hash, golden_input, read_golden
    from tests.support.intgraphs import residual_graph

    x = golden_input(path, residual_graph())
    found = read_golden(path)
    arrays = {**found.trace.spikes, **found.trace.membranes, "input": x, "output": found.trace.output}
    return _hash(golden_hash(path), *((name, array.shape, array.tobytes()) for name, array in sorted(arrays.items())))


def _write_activity(path: Path) -> None:
    from intsnn.activity import measure, write_activity
    from tests.support.intgraphs import dense_graph, random_input

    write_activity(measure(dense_graph(), [random_input(dense_graph())]), path)


def _read_activity(path: Path) -> str:
    from intsnn.activity import read_activity
    from intsnn.estimation.estimation import estimate
    from intsnn.hardware import HardwareSpec, load_hardware
    from intsnn.report import to_json
    from tests.support.intgraphs import dense_graph

    hardware, activity = load_hardware("rram_64x64_65nm"), read_activity(path)
    assert isinstance(hardware, HardwareSpec)
    return _hash(repr(activity), to_json(estimate(dense_graph(), activity, hardware)))


# ------------------------------------------------------------------ weights and trainings


def _write_student(path: Path) -> None:
    from mdcompress.student.weights import save_student
    from tests.support.training_cases import tiny_student, trained_teacher

    save_student(tiny_student(trained_teacher()), path)


def _write_packed_student(path: Path) -> None:
    from mdcompress.student.weights import save_student
    from tests.support.training_cases import tiny_student, trained_teacher

    save_student(tiny_student(trained_teacher()), path, weights="packed")


def _read_student(path: Path) -> str:
    """`export` reads it so: the student, and its integers."""
    from intsnn.graph.fingerprint import digest
    from mdcompress.student.lowering import lower
    from mdcompress.student.weights import holds_student, load_student

    return f"{holds_student(path)} {digest(lower(load_student(path)))}"


def _write_teacher(path: Path) -> None:
    from mdcompress.student.weights import save_weights
    from tests.support.training_cases import float_network

    save_weights(float_network(), path)


def _write_torch(path: Path) -> None:
    import torch

    from tests.support.training_cases import float_network

    torch.save({"state_dict": float_network().state_dict(), "epoch": 3}, path)


def _write_old_torch(path: Path) -> None:
    import torch

    from tests.support.training_cases import float_network

    torch.save(float_network().state_dict(), path, _use_new_zipfile_serialization=False)


def _read_teacher(path: Path) -> str:
    from mdcompress.student.weights import load_weights
    from mdcompress.training.identity import value_digest
    from tests.support.training_cases import float_network

    network = float_network()
    load_weights(network, path)
    return value_digest(network)


def _train(path: Path) -> str:
    from mdcompress.recipe import TeacherSpec
    from mdcompress.training import train_network
    from mdcompress.training.identity import value_digest
    from tests.support.training_cases import FAST, Shuffled, float_network

    network = train_network(
        float_network(),
        train=Shuffled(),
        validate=Shuffled(),
        spec=TeacherSpec(epochs=2),
        settings=FAST,
        checkpoint=path,
    )
    return value_digest(network)


def _write_checkpoint(path: Path) -> None:
    _train(path)


def _read_checkpoint(path: Path) -> str:
    """The training goes on from it: its end is the same."""
    return _train(path)


# ------------------------------------------------------------------ networks and data of others


def _write_nir(path: Path) -> None:
    import nir
    import numpy as np

    from mdcompress.nir import write_nir

    drawn = np.random.default_rng(0)
    neuron = {name: np.full(4, value) for name, value in (("tau", 2.0), ("r", 1.0), ("v_leak", 0.0))}
    neurons = [nir.LIF(**neuron, v_threshold=np.ones(4)) for _ in range(2)]
    conv = nir.Conv1d(6, drawn.normal(size=(4, 2, 3)), 1, 1, 1, 1, drawn.normal(size=4))
    listed = (conv, nir.Flatten({"input": np.array([4, 6])}, 0, -1), nir.Affine(drawn.normal(size=(4, 24)), np.ones(4)))
    write_nir(nir.NIRGraph.from_list(*listed, neurons[0], nir.Linear(drawn.normal(size=(4, 4))), neurons[1]), path)


def _read_nir(path: Path) -> str:
    import torch

    from mdcompress.nir import from_nir
    from mdcompress.training.identity import value_digest

    network = from_nir(path, dt=0.5, reset="hard", comparator="greater", discretization="euler")
    with torch.no_grad():
        answer = network(torch.ones(2, 1, 2, 6))
    return _hash(value_digest(network), answer.tolist())


def _idx(values: bytes, *sizes: int) -> bytes:
    return bytes([0, 0, 8, len(sizes)]) + b"".join(size.to_bytes(4, "big") for size in sizes) + values


def _write_idx(path: Path) -> None:
    import gzip

    content = _idx(bytes(range(250)) * 3 + bytes(34), 1, 28, 28)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def _read_idx(path: Path) -> str:
    from mdcompress.data.idx_file import read_idx
    from mdcompress.data.mnist import MOST

    found = read_idx(path, most=MOST["images-idx3"])
    return _hash(found.shape, found.tobytes())


def _write_cifar(path: Path) -> None:
    import pickle

    import numpy as np

    pixels = np.random.default_rng(0).integers(0, 255, (2, 3072), dtype=np.uint8)
    path.write_bytes(pickle.dumps({"data": pixels, "labels": [3, 7], "filenames": ["a.png", "b.png"]}, protocol=2))


def _read_cifar(path: Path) -> str:
    from mdcompress.data.cifar import read_batch

    found = read_batch(path, labels="labels", classes=10)
    return _hash(found.pixels.shape, found.pixels.tobytes(), found.labels.tolist())


_WNIDS = ("n01443537", "n02124075")


def _write_annotations(path: Path) -> None:
    path.write_text("".join(f"val_{number}.JPEG\t{_WNIDS[number % 2]}\t0\t32\t44\t62\n" for number in range(20)))


def _read_annotations(path: Path) -> str:
    from mdcompress.data.tiny_imagenet import read_annotations

    return repr(read_annotations(path, _WNIDS))


def _write_picture(form: str) -> Writer:
    def write(path: Path) -> None:
        import numpy as np
        from PIL import Image

        pixels = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, form)
        path.write_bytes(content.getvalue())

    return write


def _read_picture(path: Path) -> str:
    from mdcompress.data.image_folder import pixels_of

    found = pixels_of(path, None)
    return _hash(found.shape, found.tobytes())


def _write_atis(path: Path) -> None:
    import random

    drawn = random.Random(0)
    events = (bytes([drawn.randrange(34), drawn.randrange(34), *drawn.randbytes(3)]) for _ in range(200))
    path.write_bytes(b"".join(events))


def _write_gesture(path: Path) -> None:
    import numpy as np

    drawn = np.random.default_rng(0)
    columns = [drawn.integers(0, high, 200) for high in (128, 128, 2, 1000)]
    np.save(path, np.stack(columns, axis=1))


def _write_aedat(path: Path) -> None:
    from tests.mdcompress.data.test_data_recordings import as_aedat4, random_events

    path.write_bytes(as_aedat4(random_events(200, width=128, height=128)))


def _read_recording(name: str) -> Reader:
    def read(path: Path) -> str:
        import numpy as np

        from mdcompress.data import recording_sets
        from mdcompress.data.batches import EVALUATION
        from mdcompress.data.recordings import RecordingSamples

        source = getattr(recording_sets, name)
        samples = RecordingSamples((path,), np.zeros(1, np.int64), source=source, time_steps=4)
        return _hash(samples.frames(np.zeros(1, np.int64), EVALUATION).numpy().tobytes())

    return read


def _write_shd(path: Path) -> None:
    import h5py
    import numpy as np

    drawn = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for name, kind, high in (("times", np.float32, 1.0), ("units", np.uint16, 700)):
            part = file.create_dataset(f"spikes/{name}", (3,), dtype=h5py.vlen_dtype(kind))
            for index in range(3):
                part[index] = drawn.uniform(0, high, 40).astype(kind)
        file["labels"] = np.arange(3)


def _read_shd(path: Path) -> str:
    import numpy as np

    from mdcompress.data.batches import EVALUATION
    from mdcompress.data.shd import read_spikes

    found = read_spikes(path, 4)
    count = min(len(found.labels), 8)
    return _hash(found.labels.tolist(), found.frames(np.arange(count), EVALUATION).numpy().tobytes())


_FRAMES, _MADE_OF = (2, 2, 8, 8), "binning 1 of a recording"


def _write_frames(path: Path) -> None:
    import numpy as np

    from mdcompress.data.frame_cache import packed_frames

    path.write_bytes(packed_frames(np.random.default_rng(0).integers(0, 300, _FRAMES, dtype=np.int32), _MADE_OF))


def _read_frames(path: Path) -> str:
    """Frames that do not fit are made anew: here they are refused."""
    from mdcompress.data.frame_cache import kept_frames
    from mdcompress.errors import DataError

    found = kept_frames(path, _MADE_OF, _FRAMES)
    if found is None:
        raise DataError(f"{path}: is binned anew")
    return _hash(found.shape, found.tolist())


FORMATS = (
    Format("recipe", "recipe.yaml", "text", _write_recipe, _read_recipe),
    Format("hardware", "hardware.yaml", "text", _write_hardware("rram_64x64_65nm"), _read_hardware),
    Format("spikesim", "spikesim.yaml", "text", _write_hardware("spikesim"), _read_hardware),
    Format("analog", "analog.yaml", "text", _write_analog, _read_analog),
    Format("run.json", "run.json", "text", _write_record, _read_record),
    Format("history", "history.csv", "text", _write_history, _read_history),
    Format("mismatch", "mismatch.json", "text", _write_mismatch, _read_mismatch),
    Format("totals", "hardware.json", "text", _write_totals, _read_totals),
    Format("search", "study.journal", "text", _write_journal, _read_journal),
    Format("trial", "7.json", "text", _write_trial, _read_trial),
    Format("accuracies", "accuracies.csv", "text", _write_accuracies, _read_accuracies),
    Format("model.onnx", "model.onnx", "onnx", _write_onnx, _read_onnx, has_digest=True),
    Format("golden.npz", "golden.npz", "zip", _write_golden, _read_golden),
    Format("activity", "activity.json", "text", _write_activity, _read_activity),
    Format("student", "student.safetensors", "safetensors", _write_student, _read_student),
    Format("packed student", "student.safetensors", "safetensors", _write_packed_student, _read_student),
    Format("teacher", "teacher.safetensors", "safetensors", _write_teacher, _read_teacher),
    Format("torch", "teacher.pt", "zip", _write_torch, _read_teacher),
    Format("old torch", "teacher.pth", "bytes", _write_old_torch, _read_teacher),
    Format("checkpoint", "last.safetensors", "safetensors", _write_checkpoint, _read_checkpoint, has_digest=True),
    Format("nir", "network.nir", "hdf5", _write_nir, _read_nir),
    Format("idx", "train-images-idx3-ubyte", "bytes", _write_idx, _read_idx),
    Format("idx.gz", "train-images-idx3-ubyte.gz", "gzip", _write_idx, _read_idx),
    Format("cifar", "data_batch_1", "bytes", _write_cifar, _read_cifar),
    Format("tiny-imagenet", "val_annotations.txt", "text", _write_annotations, _read_annotations),
    Format("png", "image.png", "png", _write_picture("PNG"), _read_picture),
    Format("jpeg", "image.jpg", "bytes", _write_picture("JPEG"), _read_picture),
    Format("nmnist", "00002.bin", "bytes", _write_atis, _read_recording("NMNIST")),
    Format("ncaltech101", "image_0001.bin", "bytes", _write_atis, _read_recording("NCALTECH101")),
    Format("aedat4", "0.aedat4", "bytes", _write_aedat, _read_recording("CIFAR10_DVS")),
    Format("frames", "image_0001.frames", "bytes", _write_frames, _read_frames, has_digest=True),
    Format("shd", "shd_train.h5", "hdf5", _write_shd, _read_shd),
    Format("gesture", "0.npy", "bytes", _write_gesture, _read_recording("DVS_GESTURE")),
)
