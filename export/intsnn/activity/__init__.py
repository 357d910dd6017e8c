"""What a network does on data: spikes and values counted, or assumed."""

from intsnn.activity.activity import (
    Activity,
    NeuronActivity,
    ProductActivity,
    SynapseActivity,
    assume,
    first_steps,
)
from intsnn.activity.file import ACTIVITY_SCHEMA, read_activity, write_activity
from intsnn.activity.measuring import measure

__all__ = [
    "ACTIVITY_SCHEMA",
    "Activity",
    "NeuronActivity",
    "ProductActivity",
    "SynapseActivity",
    "assume",
    "first_steps",
    "measure",
    "read_activity",
    "write_activity",
]
