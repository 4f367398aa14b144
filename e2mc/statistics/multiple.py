"""Families of comparisons."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def holm(pvalues: ArrayLike) -> NDArray[np.float64]:
    """Holm's step-down adjusted p-values, in the order given.

    Rejecting where the adjusted p-value is at most alpha keeps the probability of any false
    rejection in the family at most alpha, whatever the dependence between the tests.

    Parameters
    ----------
    pvalues : array_like, shape (m,)
        The family's p-values; an empty family gives an empty result.

    Returns
    -------
    ndarray, shape (m,)

    Raises
    ------
    ValueError
        If a p-value is nan or outside [0, 1], or the family is not a vector.

    References
    ----------
    Holm, Scandinavian Journal of Statistics 6 (1979) 65-70.
    """
    family = np.asarray(pvalues, dtype=np.float64)
    if family.ndim != 1 or not np.all((family >= 0) & (family <= 1)):
        raise ValueError("pvalues must be a vector of numbers between 0 and 1")
    order = np.argsort(family, kind="stable")
    remaining = np.arange(family.size, 0, -1)
    adjusted = np.empty_like(family)
    adjusted[order] = np.minimum(np.maximum.accumulate(family[order] * remaining), 1.0)
    return adjusted
