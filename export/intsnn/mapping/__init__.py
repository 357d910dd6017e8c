"""An integer graph on crossbars: arrays, copies, places."""

from intsnn.mapping.mapping import DigitalMapping, LayerMapping, Mapping, map_graph, place

__all__ = [
    "DigitalMapping",
    "LayerMapping",
    "Mapping",
    "map_graph",
    "place",
]
