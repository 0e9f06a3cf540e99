"""Trainers in processes of their own, which take steps in turn: aft, and TRL where it is installed."""
