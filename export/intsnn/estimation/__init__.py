"""Events, prices, time and area of a mapped graph: the hardware report as data."""
