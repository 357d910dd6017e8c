"""A search across network and chip: bits of each layer, T, and the designs of the hardware that students go on."""
