"""Runs: what was asked for, what happened, who drives them."""
