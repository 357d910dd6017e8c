"""The rules of FORMAT.md: what a legal graph is, and the proofs that no integer overflows."""
