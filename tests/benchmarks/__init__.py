"""Benchmarks of dropcli against other tools: `python -m tests.benchmarks`."""
