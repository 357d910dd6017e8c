"""C source -> a shared library of this machine: a compiler that was tried, and a cache that is the user's own."""
