"""The student: the network that computes in integers, and what is observed of it."""

from mdcompress.student.observed import Observation
from mdcompress.student.streams import Reader, Stream, layer_key
from mdcompress.student.student import Student

__all__ = [
    "Observation",
    "Reader",
    "Stream",
    "Student",
    "layer_key",
]
