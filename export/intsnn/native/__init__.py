"""An integer graph as C: compiled for this machine and run here, or written for a microcontroller.

`compile` gives a session, `portable_source` the C of a microcontroller. One emitter writes both: `stages` groups the
nodes, `storage` says how tensors lie in memory, `writing` has the functions of a stage, `source` the whole unit. The
parts that are the same for every network are C files in `kernels/`. `compiler` and `cache` make libraries of it.
"""

from intsnn.native.session import NativeSession, compile, is_compiled
from intsnn.native.source import Source, host_source, portable_source

__all__ = ["NativeSession", "Source", "compile", "host_source", "is_compiled", "portable_source"]
