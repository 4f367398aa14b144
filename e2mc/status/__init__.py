"""What an experiment is doing: the state of every job, and how it is told."""
