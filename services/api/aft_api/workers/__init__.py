"""Workers: who is there, which of them has which run, and the queue of runs that wait."""
