"""Every error a user of mdcompress can meet, besides those of intsnn.

IntsnnError (intsnn.errors)
└── MdcompressError
    ├── TraceError          the network does something the graph cannot hold; names the module
    ├── PlanError           recipe and network do not fit: no match, an impossible pair (exit 2)
    ├── CalibrationError    data do not allow a scale to be found
    ├── CheckpointError     a file of weights is foreign, truncated or of another network
    ├── DataError           a data set is damaged or of the wrong shape
    │   └── MissingDataError    a data set is not, or not wholly, in its folder
    ├── ExportError         another format cannot hold the integer graph; names the node
    ├── SearchError         a search finds no student that can be compared
    ├── TrainingError       training cannot start, resume or go on (NaN in the loss)
    └── RunError            a run directory is missing, ambiguous, stale or not writable
"""

from intsnn.errors import IntsnnError


class MdcompressError(IntsnnError):
    """Base of the errors of the torch half."""


class TraceError(MdcompressError):
    """The network does something the graph cannot hold."""


class PlanError(MdcompressError):
    """Recipe and network do not fit."""

    exit_code = 2


class CalibrationError(MdcompressError):
    """The calibration data do not allow a scale to be found."""


class CheckpointError(MdcompressError):
    """A file of weights is foreign, truncated or of another network."""


class DataError(MdcompressError):
    """A data set is missing, incomplete or of the wrong shape."""


class MissingDataError(DataError):
    """A data set is not, or not wholly, in its folder."""


class ExportError(MdcompressError):
    """Another format cannot hold the integer graph."""


class SearchError(MdcompressError):
    """A search finds no student that can be compared."""


class TrainingError(MdcompressError):
    """Training cannot start, resume or go on."""


class RunError(MdcompressError):
    """A run directory is missing, ambiguous, stale or not writable."""
