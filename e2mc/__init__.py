"""Effective entropy maximisation (E2MC) for pre-trained self-supervised embeddings.

``e2mc.criteria`` and ``e2mc.statistics`` need torch, numpy and scipy alone; every other
package belongs to the pipeline (``pip install "e2mc[pipeline]"``).
"""

__version__ = "0.1.0"
