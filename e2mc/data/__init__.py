"""Data sets as they lie on disk, their random views, label subsets, and the demo's data."""
