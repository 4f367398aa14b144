"""Backbones, heads, and checkpoints: our own layout and the official ones."""

from e2mc.models.backbone import ResNet, Trunk, build_backbone, quarter_pool
from e2mc.models.store import (
    load_metadata,
    load_momentum,
    load_state,
    load_strict,
    save_model,
)

__all__ = [
    "ResNet",
    "Trunk",
    "build_backbone",
    "load_metadata",
    "load_momentum",
    "load_state",
    "load_strict",
    "quarter_pool",
    "save_model",
]
