"""Buttons on a task that lead to another system."""
