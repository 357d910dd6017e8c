"""The student: the network that computes in integers, and what is observed of it."""

from mdcompress.student.observed import Observation
from mdcompress.student.student import Student, layer_key

__all__ = [
    "Observation",
    "Student",
    "layer_key",
]
