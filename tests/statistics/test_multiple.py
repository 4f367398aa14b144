import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from e2mc.statistics import holm


@pytest.mark.parametrize("seed", range(5))
def test_equals_statsmodels(seed):
    rng = np.random.default_rng(seed)
    pvalues = np.concatenate([rng.random(7) ** 3, [0, 1, 0.02, 0.02]])
    np.testing.assert_allclose(holm(pvalues), multipletests(pvalues, method="holm")[1])


def test_by_hand():
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.2]).tolist() == [0.2]
    assert holm([]).size == 0


@pytest.mark.parametrize("pvalues", [[0.1, np.nan], [-0.1], [1.1], [[0.1]]])
def test_refuses(pvalues):
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm(pvalues)
