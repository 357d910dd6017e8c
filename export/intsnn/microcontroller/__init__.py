"""A graph as C for a microcontroller: the folder with its test, Makefile and README; what it takes of flash and RAM."""
