"""Rows, tokens and the pure plan that says which rows each step trains on."""
