"""The parts of `control_plane`: the processes it starts, what it asks of them, and what it reads of them."""
