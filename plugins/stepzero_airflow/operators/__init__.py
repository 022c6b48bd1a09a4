"""Operators: each starts something of ours or asks a person; they only store what they are given."""
