"""The experiment as typed, validated data."""

from e2mc.config.experiment import Experiment, load_experiment, parse_experiment

__all__ = ["Experiment", "load_experiment", "parse_experiment"]
