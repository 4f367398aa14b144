from pathlib import Path

import numpy as np
import pytest

from e2mc.errors import E2MCError
from e2mc.reporting.predictions import Classified, Scored, Table, read_predictions, refuse


def file(folder: Path, *lines: str) -> Path:
    path = folder / "predictions.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_classification_knows_which_samples_are_correct(tmp_path: Path) -> None:
    found = read_predictions(
        file(tmp_path, "sample,label,prediction", "a,cat,cat", "b,dog,cat", "c,3,3.0")
    )
    assert isinstance(found, Classified)
    assert found.correct.tolist() == [True, False, True]
    assert len(np.unique(found.keys)) == len(np.unique(found.labels)) == 3


def test_the_order_of_the_columns_does_not_matter(tmp_path: Path) -> None:
    one = read_predictions(file(tmp_path, "sample,label,prediction", "a,1,2", "b,2,2"))
    other = read_predictions(file(tmp_path, "prediction,more,sample,label", "2,x,a,1", "2,x,b,2"))
    for field in ("keys", "labels", "correct"):
        assert getattr(one, field).tolist() == getattr(other, field).tolist()


def test_scores_keep_classes_in_the_order_of_their_appearance(tmp_path: Path) -> None:
    lines = ("a,dog,1,0.5", "a,cat,-1,0.25", "b,dog,0,-1", "b,cat,1,2")
    found = read_predictions(file(tmp_path, "sample,class,label,score", *lines))
    assert isinstance(found, Scored)
    assert found.classes == ("dog", "cat")
    assert found.class_index.tolist() == [0, 1, 0, 1]
    assert found.labels.tolist() == [1, -1, 0, 1]
    assert found.scores.tolist() == [0.5, 0.25, -1, 2]
    assert len(np.unique(found.keys)) == 4


def test_a_refused_row_is_named_by_line_and_sample(tmp_path: Path) -> None:
    path = file(tmp_path, "label,sample,prediction", "1,a,1", "2,b,2")
    columns = {"label": 0, "sample": 1, "prediction": 2}
    table = Table(path, ",", list(columns), columns)
    with pytest.raises(E2MCError, match=r"predictions\.csv, line 3, sample 'b': is odd"):
        refuse(table, 1, "is odd")


def test_a_sample_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(E2MCError, match="line 4, sample 'a'"):
        read_predictions(file(tmp_path, "sample,label,prediction", "a,1,1", "b,2,2", "a,1,2"))
