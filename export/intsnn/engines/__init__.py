"""What runs an integer graph: the interpreter, onnxruntime, or C compiled for this machine; and which of them to take."""

from intsnn.engines.choice import AUTO, Engine, EngineChoice, EngineName, open_engine
from intsnn.engines.session import InterpreterSession, Session
from intsnn.engines.work import Work

__all__ = [
    "AUTO",
    "Engine",
    "EngineChoice",
    "EngineName",
    "InterpreterSession",
    "Session",
    "Work",
    "open_engine",
]
