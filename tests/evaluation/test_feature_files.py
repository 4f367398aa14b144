import numpy as np
import pytest

from e2mc.errors import E2MCError
from e2mc.evaluation.feature_files import open_features
from tests.evaluation.cached_features import clusters, write_features


def test_any_rows_of_any_crop_from_any_number_of_shards(tmp_path):
    x, y = clusters(37, 5, 3, 4)
    stored = x.astype(np.float16)
    rows = np.array([36, 0, 12, 13, 12, 25])
    for shards in (1, 3, 37):
        crops = ["random", "random", "center", "random"]
        index = write_features(tmp_path / str(shards), x, y, crops=crops, shards=shards)
        features = open_features(index, verify=True)
        assert features.views == 3
        np.testing.assert_array_equal(features.view(2), stored[3])
        np.testing.assert_array_equal(features.view(1, rows), stored[1, rows])
        np.testing.assert_array_equal(features.whole(), stored[2])
        np.testing.assert_array_equal(features.labels, y)


def test_a_changed_shard_is_noticed_on_demand(tmp_path):
    x, y = clusters(20, 5, 3, 1)
    index = write_features(tmp_path, x, y, crops=["center"], shards=2)
    shard = tmp_path / "shard-0001.npy"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(bytes(content))
    with pytest.raises(E2MCError, match=r"shard-0001.npy has changed"):
        open_features(index, verify=True)


def test_features_that_are_removed_half_way(tmp_path):
    x, y = clusters(20, 5, 3, 2)
    index = write_features(tmp_path, x, y, crops=["random", "random"], shards=2)
    features = open_features(index)
    np.testing.assert_array_equal(features.view(0), x[0].astype(np.float16))
    (tmp_path / "shard-0001.npy").unlink()
    with pytest.raises(E2MCError, match=r"shard-0001.npy is missing; delete .* extract .* again"):
        features.view(1)
    index.unlink()
    with pytest.raises(E2MCError, match=r"index.json does not exist. .*extract them again"):
        open_features(index)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(tmp_path, value):
    x, y = clusters(9000, 2, 3, 1)
    x[0, 8999, 1] = value
    features = open_features(write_features(tmp_path, x, y, crops=["random"]))
    for rows in (None, np.array([3, 8999])):
        with pytest.raises(E2MCError, match=r"image_8999.JPEG are not finite"):
            features.view(0, rows)
    assert features.view(0, np.array([3, 4])).shape == (2, 2)


def test_large_values_are_finite(tmp_path):
    x = np.full((1, 4, 3), 65504.0)
    features = open_features(write_features(tmp_path, x, [0, 1, 2, 0], crops=["random"]))
    np.testing.assert_array_equal(features.view(0), x[0])


def test_other_files(tmp_path):
    (tmp_path / "index.json").write_text("{}")
    with pytest.raises(E2MCError, match="is not an index of features"):
        open_features(tmp_path / "index.json")
