"""The integer graph as C: compiled for this machine, or written out for a microcontroller."""
