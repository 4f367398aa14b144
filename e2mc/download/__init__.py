"""Public files: the registry of what is known, and downloads resumed and held to their hash."""
