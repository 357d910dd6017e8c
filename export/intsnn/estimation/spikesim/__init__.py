"""The formulas of SpikeSim."""
