"""Telling a person that something needs them."""
