"""What an experiment consists of before anything runs: files, evaluations, jobs, estimate."""
