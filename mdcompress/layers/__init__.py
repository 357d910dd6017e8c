"""Layers of the student: integers carried in forward, straight-through backward (equations: export/FORMAT.md)."""
