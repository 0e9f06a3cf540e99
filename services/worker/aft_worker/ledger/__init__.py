"""What every sample did in training: written window by window, read back as figures that rank suspects."""
