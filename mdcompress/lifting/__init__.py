"""A network written in any style as the same network in normal form: `lift`.

One pass of the network is recorded at the level of ATen operators (`tape`): every number is a cell that is known by
where it came from, so that layouts, loops and containers vanish. Layers become nodes (`layers`), what stands between
them is asked for its values (`expressions`), and each chain of comparisons with a threshold is a neuron (`comparisons`,
`chains`) whose equation is read off its potentials and proved (`inputs`, `neurons`, `identify`). The result, `Lifted`,
holds the user's own weights and canonical neurons, and takes [T, N, ...].
"""

from __future__ import annotations

from mdcompress.lifting.lift import CALLINGS, Calling, LiftError, callings_of, lift
from mdcompress.lifting.network import CanonicalNeuron, Finding, Lifted

__all__ = ["CALLINGS", "Calling", "CanonicalNeuron", "Finding", "LiftError", "Lifted", "callings_of", "lift"]
