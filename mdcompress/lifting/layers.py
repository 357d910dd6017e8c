"""Operators that are layers, as nodes: which operator is read by which module, and what no graph can hold."""

from __future__ import annotations

from collections.abc import Callable

from mdcompress.errors import TraceError
from mdcompress.lifting.context import Context
from mdcompress.lifting.convolutions import record_convolution
from mdcompress.lifting.norms import record_batch_norm
from mdcompress.lifting.operators import INSTEAD
from mdcompress.lifting.pools import record_pool
from mdcompress.lifting.products import record_addmm, record_bmm, record_mm
from mdcompress.lifting.sums import record_maximum, record_reduction
from mdcompress.lifting.tape import Op

_NORMS = ("native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm")
_POOLS = (
    "max_pool1d", "max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_max_pool2d", "adaptive_max_pool3d",
)  # fmt: skip


def record_layer(context: Context, op: Op) -> None:
    """Write the node of an operator that is none on elements.

    Raises:
        TraceError: a graph cannot hold it; it is named, with the place.
    """
    recorder = _RECORDERS.get(op.name)
    if recorder is None:
        word = next((word for word in INSTEAD if word in op.name), "")
        raise TraceError(
            f"the network calls {op.name.strip('_')}, which a graph of spiking layers cannot hold ({op.place})",
            hints=[INSTEAD.get(word, "use convolution, linear, batch norm, pooling, sums, and spiking neurons")],
        )
    recorder(context, op)


_RECORDERS: dict[str, Callable[[Context, Op], None]] = {
    "convolution": record_convolution,
    "addmm": record_addmm,
    "mm": record_mm,
    "bmm": record_bmm,
    **dict.fromkeys(_NORMS, record_batch_norm),
    **dict.fromkeys(_POOLS, record_pool),
    "mean": record_reduction,
    "sum": record_reduction,
    "amax": record_maximum,
    "max": record_maximum,
}
