"""How fast dropcli is beside what people use today: `python -m tests.benchmarks`."""
