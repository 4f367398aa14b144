"""Handing a rule's command to Slurm through submitit, and finding it again."""
