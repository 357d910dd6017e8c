"""Thousands of crossbar designs priced; the Pareto set of them, as CSV and picture."""
