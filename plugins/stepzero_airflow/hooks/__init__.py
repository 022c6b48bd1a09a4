"""Talking to the outside: the only place that knows addresses and tokens."""
