"""A plugin-based benchmarking harness for synthetic face recognition data."""

__version__ = "0.1.0"
