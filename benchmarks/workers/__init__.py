"""One contestant per file. Each is run as `python -m benchmarks.workers.NAME ...` and prints one line of JSON."""
