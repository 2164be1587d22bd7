"""A search on a simulated clock: the real scheduling, trials that only take time."""
