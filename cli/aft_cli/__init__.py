"""The command line: a client of the API, and the launcher behind `aft up`."""
