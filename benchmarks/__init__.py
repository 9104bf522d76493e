"""What `make bench` measures: ratios taken side by side, never absolute rates (they vary twofold between machines).

Each contestant runs in a process of its own, one after the other in turn, so that a machine that slows down slows all
of them. Tracing and the first epoch are excluded for all alike. `python -m benchmarks` writes `docs/benchmarks.md`.
"""
