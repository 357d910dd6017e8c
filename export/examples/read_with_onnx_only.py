"""What a hardware tool sees: the layers of a model.onnx from their metadata, with the onnx package and nothing else.

python export/examples/read_with_onnx_only.py runs/4bit/model.onnx
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import onnx

PREFIX = "mdcompress."


def layers(model: onnx.ModelProto) -> Iterator[tuple[str, dict[str, str]]]:
    """Name and metadata of every layer; nodes without metadata only reshape or widen a tensor."""
    for node in model.graph.node:
        metadata = {entry.key.removeprefix(PREFIX): entry.value for entry in node.metadata_props}
        if metadata:
            yield node.name, metadata


def main(arguments: list[str]) -> None:
    """Print a line a layer."""
    if len(arguments) != 1:
        raise SystemExit("usage: python export/examples/read_with_onnx_only.py MODEL.onnx")
    model = onnx.load(arguments[0], load_external_data=False)
    sizes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    packed = {tensor.name: onnx.numpy_helper.to_array(tensor).tolist() for tensor in model.graph.initializer
              if tensor.name.endswith("/weight_shape")}  # fmt: skip
    for name, metadata in layers(model):
        weight = packed.get(f"{name}/weight_shape", sizes.get(f"{name}/weight"))
        stored = f"  weight {weight}, {metadata['bit_width']} bit" if weight else ""
        print(f"{name:20} {metadata['kind']:10} shape {metadata['shape']:14} in {metadata['bounds']}{stored}")


if __name__ == "__main__":
    main(sys.argv[1:])
