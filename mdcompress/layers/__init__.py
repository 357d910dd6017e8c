"""Layers of the student: integers carried in forward, straight-through backward (equations: export/FORMAT.md)."""

import logging

# Brevitas imports torch's builder of C++ extensions, which warns of a machine without CUDA
logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
