"""The arm64 lane: the product under emulation on an x86-64 machine, and its results compared."""
