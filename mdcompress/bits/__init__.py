"""Bits layer by layer: what each layer loses at each number of bits, and bits for a budget."""
