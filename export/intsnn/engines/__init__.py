"""What runs an integer graph: interpreter, onnxruntime or C compiled for this machine; and which of them to take."""

from intsnn.engines.choice import (
    AUTO,
    CHOICES,
    Auto,
    Engine,
    EngineChoice,
    Native,
    open_engine,
    open_native,
)
from intsnn.engines.session import InterpreterSession, Session
from intsnn.engines.work import EngineName, Size, Work

__all__ = [
    "AUTO",
    "CHOICES",
    "Auto",
    "Engine",
    "EngineChoice",
    "EngineName",
    "InterpreterSession",
    "Native",
    "Session",
    "Size",
    "Work",
    "open_engine",
    "open_native",
]
