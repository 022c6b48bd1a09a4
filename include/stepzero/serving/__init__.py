"""The endpoint: raw rows in, scores out; swaps to the version that the store desires."""
