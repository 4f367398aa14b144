"""One training loop for all methods and criteria, with optimizers, schedules, resumable state."""
