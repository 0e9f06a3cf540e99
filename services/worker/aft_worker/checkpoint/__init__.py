"""Committed, verified states of a run on disk."""
