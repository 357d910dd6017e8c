"""The embedded data set: 1,797 scans of handwritten digits, 8 x 8 pixels of 17 grey levels, that scikit-learn ships.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998, doi:10.24432/C50P49.
"""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mdcompress.data.batches import Samples
from mdcompress.data.names import Loading
from mdcompress.data.samples import ImageSamples, stored
from mdcompress.data.splits import DataSplits, split_in_three
from mdcompress.errors import MissingDataError

_FILE = ("datasets", "data", "digits.csv.gz")
WHITE = 16  # pixels count the dots of a 4 x 4 block of the scan: 0..16
CLASSES = tuple(str(digit) for digit in range(10))


def digits(loading: Loading) -> DataSplits:
    """Training, validation and test as 60 : 20 : 20, always the same; x = pixel / 16 in [0, 1], shape [1, 8, 8]."""
    return split_in_three(_samples(loading), CLASSES, loading, test=0.2, validation=0.25)


def _samples(loading: Loading) -> Samples:
    scans = _scans()
    pixels = scans[:, :-1].reshape(-1, 1, 8, 8)
    images = ImageSamples(
        read=pixels.__getitem__,
        labels=scans[:, -1].astype(np.int64),
        image_shape=pixels.shape[1:],
        white=WHITE,
        encoding=loading.encoding,
        time_steps=loading.time_steps,
    )
    return stored(images) if loading.encoding == "events" else images


def _scans() -> NDArray[np.uint8]:
    """[1797, 65]: of each scan 64 pixels, then its digit. `load_digits` reads the same, after a second of imports."""
    found = importlib.util.find_spec("sklearn")
    places = [] if found is None else [Path(each, *_FILE) for each in found.submodule_search_locations or ()]
    for place in places:
        if place.is_file():
            with gzip.open(place, "rt", encoding="ascii") as file:
                return np.loadtxt(file, delimiter=",", dtype=np.uint8)
    looked = ", ".join(map(str, places)) or "none: it is not installed"
    raise MissingDataError(
        f"the digits must lie in scikit-learn, as {'/'.join(_FILE)} (looked in {looked})",
        hints=["pip install --force-reinstall scikit-learn"],
    )
