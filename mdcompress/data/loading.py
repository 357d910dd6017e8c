"""The recipe's `data` section -> DataSplits: checks the request and calls the loader of that name."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from mdcompress.data.names import (
    DATA_SETS,
    DEFAULT_FOLDER,
    ENCODINGS,
    EVENT_SETS,
    DataSource,
    Download,
    Encoding,
    Loading,
)
from mdcompress.data.splits import DataSplits
from mdcompress.errors import DataError
from mdcompress.trust import REFUSED, Consent

if TYPE_CHECKING:
    from mdcompress.data.recording_sets import RecordingSet


def load_data(
    spec: DataSource,
    *,
    seed: int,
    folder: Path | None = None,
    download: Download = Download.NEVER,
    consent: Consent = REFUSED,
) -> DataSplits:
    """Training, validation and test batches of the data set that `spec` names.

    Args:
        spec: the recipe's `data` section. `name` is one of DATA_SETS or `package.module:function` (own_loaders).
        seed: of the order and the random encoding of training samples; no split depends on it.
        folder: where files lie; goes before `spec.folder`; without either it is `data/`.
        download: whether missing files may be fetched into the folder.
        consent: whether the code of a `package.module:function` may run; `mdcompress.trust.GIVEN` where the program
            that calls has chosen it. A recipe's file is no such choice.

    Raises:
        UsageError: there is no consent.
        DataError: the set is missing, incomplete or of the wrong shape.
    """
    return _load(replace(request(spec, seed=seed, folder=folder, download=download), consent=consent))


def request(spec: DataSource, *, seed: int, folder: Path | None = None, download: Download = Download.NEVER) -> Loading:
    """A recipe's `data` section as a checked request, without any consent; arguments as in `load_data`."""
    for key, value in (("time_steps", spec.time_steps), ("batch_size", spec.batch_size)):
        if value < 1:
            raise DataError(f"data.{key}: must be at least 1 (got {value})", hints=[f"set data.{key} to 1 or more"])
    place = folder or spec.folder or DEFAULT_FOLDER
    return Loading(
        name=spec.name,
        time_steps=spec.time_steps,
        encoding=_encoding(spec),
        batch_size=spec.batch_size,
        seed=seed,
        folder=Path(place).expanduser(),
        download=download,
        size=spec.size,
        cache=spec.cache,
        augment=spec.augment,
        workers=spec.workers,
        pin_memory=spec.pin_memory,
    )


def _encoding(spec: DataSource) -> Encoding:
    for encoding in ENCODINGS:
        if encoding == spec.encoding:
            return _fitting(spec.name, encoding)
    raise DataError(
        f"data.encoding: must be one of {', '.join(ENCODINGS)} (got {spec.encoding!r})",
        hints=["`direct` repeats the image, `rate` draws spikes, `events` looks at it with an event camera"],
    )


def _fitting(name: str, encoding: Encoding) -> Encoding:
    """Event sets are given as they were recorded, whether that is called `direct` or `events`."""
    if ":" in name and encoding != "direct":
        raise DataError(
            f"data.encoding: must be direct with loaders of one's own, which encode themselves (got {encoding!r})",
            hints=["set data.encoding to direct"],
        )
    if name not in EVENT_SETS:
        return encoding
    if encoding == "rate":
        raise DataError(
            f"data.encoding: `{name}` is made of events and cannot be rate-coded (got 'rate')",
            hints=["set data.encoding to events"],
        )
    return "events"


def _load(loading: Loading) -> DataSplits:
    # imported where needed: each loader brings its own library, up to seconds of import
    match loading.name:
        case "digits" | "digits_events":
            from mdcompress.data.digits import digits

            return digits(replace(loading, name="digits"))  # one split for both: they can be compared
        case "mnist" | "fashion_mnist":
            from mdcompress.data.mnist import mnist

            return mnist(loading)
        case "cifar10" | "cifar100":
            from mdcompress.data.cifar import cifar

            return cifar(loading)
        case "tiny_imagenet":
            from mdcompress.data.tiny_imagenet import tiny_imagenet

            return tiny_imagenet(loading)
        case "image_folder":
            from mdcompress.data.image_folder import image_folder

            return image_folder(loading)
        case "shd":
            from mdcompress.data.shd import shd

            return shd(loading)
        case "nmnist" | "ncaltech101" | "cifar10_dvs" | "dvs_gesture":
            from mdcompress.data.recordings import recordings

            return recordings(recorded_set(loading.name), loading)
        case name if ":" in name:
            from mdcompress.data.own_loaders import own_loaders

            return own_loaders(loading)
        case name:
            raise _unknown(name)


def recorded_set(name: str) -> RecordingSet:
    """The description of a set of recordings."""
    from mdcompress.data import recording_sets as sets

    described = {
        "nmnist": sets.NMNIST,
        "ncaltech101": sets.NCALTECH101,
        "cifar10_dvs": sets.CIFAR10_DVS,
        "dvs_gesture": sets.DVS_GESTURE,
    }
    return described[name]


def _unknown(name: str) -> DataError:
    close = get_close_matches(name, DATA_SETS, n=1)
    hints = [f"did you mean `{close[0]}`?"] if close else []
    return DataError(
        f"data.name: must be one of {', '.join(DATA_SETS)}, or package.module:function (got {name!r})",
        hints=[*hints, "for data of your own, name a function: `data: {name: my_package.my_module:my_function, …}`"],
    )
