"""Benchmarks: figures of docs/SPECIFICATION.md. `python -m tests.bench` runs those that need no more than this machine."""
