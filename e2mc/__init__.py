"""Effective entropy maximisation (E2MC) for pre-trained self-supervised embeddings.

``e2mc.criteria``, ``e2mc.statistics`` and ``e2mc compare`` need torch, numpy and scipy alone;
everything else belongs to the pipeline (``pip install "e2mc[pipeline]"``).
"""

__version__ = "0.1.0"
