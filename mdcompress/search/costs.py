"""What a search keeps low beside a high accuracy. The console needs nothing else of this room."""

from __future__ import annotations

from typing import Literal

Cost = Literal["energy", "latency", "area"]
