"""What aft costs and how fast it is: `python -m benchmarks.NAME [--json FILE] [--quick]`, or `make benchmarks`."""
