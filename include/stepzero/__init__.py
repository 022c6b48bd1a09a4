"""The full machine-learning lifecycle for tabular data, with a data-quality gate as step zero."""

__version__ = "0.1.0"
