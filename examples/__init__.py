"""What aft does, to run and to read."""
