"""The embedded data set: 1,797 scans of handwritten digits, 8 x 8 pixels of 17 grey levels, that scikit-learn ships.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998, doi:10.24432/C50P49.
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from mdcompress.data.batches import Samples
from mdcompress.data.names import Loading
from mdcompress.data.samples import ImageSamples, stored
from mdcompress.data.splits import DataSplits, split_in_three

WHITE = 16  # pixels count the dots of a 4 x 4 block of the scan: 0..16
CLASSES = tuple(str(digit) for digit in range(10))


def digits(loading: Loading) -> DataSplits:
    """Training, validation and test as 60 : 20 : 20, always the same; x = pixel / 16 in [0, 1], shape [1, 8, 8]."""
    return split_in_three(_samples(loading), CLASSES, loading, test=0.2, validation=0.25)


def _samples(loading: Loading) -> Samples:
    bunch = load_digits()
    pixels = bunch.images.astype(np.uint8)[:, None]
    images = ImageSamples(
        read=pixels.__getitem__,
        labels=bunch.target.astype(np.int64),
        image_shape=pixels.shape[1:],
        white=WHITE,
        encoding=loading.encoding,
        time_steps=loading.time_steps,
    )
    return stored(images) if loading.encoding == "events" else images
