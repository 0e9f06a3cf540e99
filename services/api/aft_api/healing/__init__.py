"""Detect, explain, repair: pure functions over contracts, without I/O and without a clock."""
