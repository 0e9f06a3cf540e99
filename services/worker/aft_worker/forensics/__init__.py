"""Per-sample evidence for any loss function, in the textbook form."""
