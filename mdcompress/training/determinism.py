"""(seed, epoch, step) -> all randomness of that step; and a context in which training repeats bit by bit."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
import torch.utils.deterministic
from torch import Tensor

_FILLING: Any = torch.utils.deterministic  # its one attribute is a property of the module, which no stub has
Batch = tuple[Tensor, Tensor]

_CUBLAS_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # with which cuBLAS repeats, as its documentation has it


@contextlib.contextmanager
def reproducible(device: torch.device, *, deterministic: bool = True) -> Iterator[None]:
    """`algorithms`, gradients on and autocast off inside; the caller's modes and random states afterwards.

    Autocast would make integers wrong (bfloat16 holds them exactly only up to 256).

    Args:
        device: where is computed.
        deterministic: whether a GPU has to repeat its bits.
    """
    with (
        algorithms(device, deterministic=deterministic),
        _random_states(device),
        torch.autocast(device.type, enabled=False),
        torch.enable_grad(),
    ):
        yield


@contextlib.contextmanager
def algorithms(device: torch.device, *, deterministic: bool) -> Iterator[None]:
    """Deterministic algorithms inside; on a GPU that need not repeat its bits those that it finds the fastest.

    An operation that has no deterministic form (some CUDA kernels) warns and runs. A CPU repeats in any case.
    """
    enabled, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark, fills = torch.backends.cudnn.benchmark, _FILLING.fill_uninitialized_memory
    repeats = deterministic or device.type == "cpu"
    if repeats:
        torch.use_deterministic_algorithms(True, warn_only=not enabled or warns)
    if repeats and device.type == "cuda":
        os.environ.setdefault(*_CUBLAS_WORKSPACE)  # it is read when the first product is computed
    torch.backends.cudnn.benchmark = not repeats  # the fastest kernel of the day need not be the one of yesterday
    _FILLING.fill_uninitialized_memory = False  # NaN into all that is about to be written anyway
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warns)
        torch.backends.cudnn.benchmark = benchmark
        _FILLING.fill_uninitialized_memory = fills


def seed_step(seed: int, epoch: int, step: int, *, rank: int = 0) -> None:
    """Start the global generators of torch, NumPy and Python from (seed, epoch, step) and the process's rank alone.

    So a resumed training needs no generator's state: it starts the step's as the uninterrupted one did.
    """
    key = f"training seed={seed} epoch={epoch} step={step}" + (f" rank={rank}" if rank else "")
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    number = int.from_bytes(digest, "little")
    torch.manual_seed(number >> 1)  # 63 bits: torch reads the seed as a signed number
    np.random.seed(number & 0xFFFFFFFF)  # the legacy generator takes 32 bits
    random.seed(number)


def seeded_batches(batches: Iterable[Batch], *, seed: int, epoch: int) -> Iterator[tuple[int, Batch]]:
    """(step, batch), step from 1: the epoch's walk with the generators started anew for each batch.

    `set_epoch` is called where there is one. A loader that shuffles with torch's global generator draws its order
    when the walk starts, hence the seeding as step 0.
    """
    set_epoch = getattr(batches, "set_epoch", None)
    if callable(set_epoch):
        set_epoch(epoch)
    seed_step(seed, epoch, 0)
    walk, step = iter(batches), 1
    seed_step(seed, epoch, step)
    for batch in walk:
        yield step, batch
        step += 1
        seed_step(seed, epoch, step)


@contextlib.contextmanager
def _random_states(device: torch.device) -> Iterator[None]:
    devices = [device] if device.type == "cuda" else []
    of_numpy, of_python = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        np.random.set_state(of_numpy)
        random.setstate(of_python)
