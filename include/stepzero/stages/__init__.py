"""The stages of the lifecycle: plain functions, one file each; no stage imports another."""
