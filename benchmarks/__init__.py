"""What aft costs and how fast it is: `python -m benchmarks.NAME [--json FILE] [--quick]`; `make benchmarks` runs all."""
