"""Public files: the registry of what is known, and downloads that are verified and resumed."""
