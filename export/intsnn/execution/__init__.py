"""The graph run in NumPy, its golden values, and runs compared value by value."""
