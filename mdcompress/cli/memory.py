"""What a training frees goes to its next tensors, and not to the system, which gives it back page by page.

A step allocates and frees tensors of megabytes. glibc maps each of them anew, or cuts its heap after each; the pages
are then taken out and filled with zeros again, which was a twelfth of the time of a training on the digits.

Torch and its libraries make half a million objects that stay. Python looks for garbage among them while they are made,
which was a tenth of the time before a command begins.
"""

from __future__ import annotations

import ctypes
import gc
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_KEPT_BYTES = 2**30  # free at the end of the heap, before it is cut
_LARGEST_ON_HEAP = 32 * 2**20  # the most that glibc takes for a threshold; larger ones are few
_GARBAGE = (10_000, 20, 20)  # objects made before the youngest are looked through, and how often before older ones


def look_for_garbage_seldom() -> None:
    """Tell Python to look for objects in circles less often than after every 700 new ones; others go at once anyway."""
    gc.set_threshold(*_GARBAGE)


def keep_freed_memory() -> bool:
    """Tell the allocator of this process; whether there is one that can be told (glibc's)."""
    if not sys.platform.startswith("linux"):
        return False
    tell = getattr(ctypes.CDLL(None), "mallopt", None)
    wanted = ((_MMAP_THRESHOLD, _LARGEST_ON_HEAP), (_TRIM_THRESHOLD, _KEPT_BYTES))
    return tell is not None and all(tell(option, value) == 1 for option, value in wanted)
