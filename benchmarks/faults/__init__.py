"""Faults: a small model is fine-tuned through the real worker and the real supervisor while something goes wrong."""
