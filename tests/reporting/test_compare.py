import csv
import json
import math
import os
import re
import threading

import numpy as np
import pandas as pd
import pytest

from e2mc.errors import E2MCError
from e2mc.reporting import compare, predictions
from e2mc.reporting.compare import render, run, verdict
from e2mc.statistics import compare_paired, compare_scores, holm
from e2mc.statistics.average_precision import voc_average_precision

HEADER = "sample,label,prediction"


def compare_prediction_files(*arguments):
    return pd.DataFrame(compare.compare_prediction_files(*arguments))


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def classified(path, labels, guesses, order=None):
    rows = [f"img {i},{a},{b}" for i, (a, b) in enumerate(zip(labels, guesses, strict=True))]
    rows = rows if order is None else [rows[i] for i in order]
    return write(path, "\n".join([HEADER, *rows]) + "\n")


@pytest.fixture
def three(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 200)
    guesses = [
        np.where(rng.random(200) < p, labels, rng.integers(0, 5, 200)) for p in (0.5, 0.6, 0.8)
    ]
    paths = [
        classified(tmp_path / f"{name}.csv", labels, guess)
        for name, guess in zip("abc", guesses, strict=True)
    ]
    return paths, labels, guesses


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(predictions, "ROWS_AT_ONCE", 37)


def test_rows_are_the_paired_tests_with_holm_over_the_family(three):
    paths, labels, guesses = three
    table = compare_prediction_files(paths[0], paths[1:])
    expected = [compare_paired(guesses[0] == labels, guess == labels) for guess in guesses[1:]]
    for (_, row), result in zip(table.iterrows(), expected, strict=True):
        for field in ("n", "difference", "gained", "lost", "permutation_pvalue", "cohens_d"):
            assert row[field] == getattr(result, field)
        assert (row["interval_low"], row["interval_high"]) == result.interval
    assert table["model"].tolist() == [str(path) for path in paths[1:]]
    assert table["accuracy"].tolist() == [np.mean(guess == labels) for guess in guesses[1:]]
    assert table["base_accuracy"].tolist() == [np.mean(guesses[0] == labels)] * 2
    np.testing.assert_array_equal(
        table["holm_pvalue"], holm([result.permutation_pvalue for result in expected])
    )


def test_rows_are_matched_by_sample_not_by_position(three, tmp_path):
    paths, labels, guesses = three
    order = np.random.default_rng(1).permutation(200)
    shuffled = classified(tmp_path / "shuffled.csv", labels, guesses[1], order)
    columns = ["difference", "gained", "lost"]
    one = compare_prediction_files(paths[0], [paths[1]])[columns]
    assert one.equals(compare_prediction_files(paths[0], [shuffled])[columns])
    # The rows of the base shuffled instead.
    other = classified(tmp_path / "base.csv", labels, guesses[0], order)
    assert one.equals(compare_prediction_files(other, [paths[1]])[columns])


def test_names_quotes_byte_order_mark_and_whole_floats_are_read(tmp_path):
    base = write(tmp_path / "a.csv", f'\ufeff{HEADER}\n"a, b.jpg",1,1\nNA,2,1\nc,3,3\n')
    model = write(
        tmp_path / "b.csv",
        'prediction, score, label, sample\r\n3.0,.9,3,c\r\n1,.8,1.0,"a, b.jpg"\r\n2,.7,2,NA\r\n',
    )
    row = compare_prediction_files(base, [model]).iloc[0]
    assert (row["n"], row["gained"], row["lost"]) == (3, 1, 0)


def test_class_names_that_look_like_missing_values_are_names(tmp_path):
    path = write(tmp_path / "a.csv", f"{HEADER}\n1,None,None\n2,nan,None\n3,null,null\n")
    row = compare_prediction_files(path, [path]).iloc[0]
    assert row["base_accuracy"] == pytest.approx(2 / 3)


BAD_FILES = {
    "": "is empty",
    f"{HEADER}\n": "no predictions",
    "sample|label|prediction\n1|2|3\n": r"the header has the columns sample\|label\|prediction",
    "sample,prediction\n1,2\n": "the header has the columns sample, prediction",
    "sample,label,label,prediction\n1,2,2,2\n": "names a column twice",
    f"{HEADER}\na,1,1\nb,,2\n": r"line 3, sample 'b': no label",
    f"{HEADER}\na,1,1\nb,2\n": r"line 3, sample 'b': no prediction",
    f"{HEADER}\na,1,1\n\nb,2,2\n": r"line 3, sample '': no sample",
    f"{HEADER}\na,1,1\nb,2,2\nc,1,1\nb,1,2\n": r"line 5, sample 'b': .* already on line 3",
    f"{HEADER}\na,1,1\nb,1,2\n": "one class",
    f"{HEADER}\na,cat,0\nb,dog,1\n": "no prediction is any of the labels",
    f"{HEADER}\na,1,1\nb,2,2,2\n": r"line 3, sample 'b': more values",
    f"{HEADER}\na,b,1,1\nc,d,2,2\n": r"line 2, sample 'a': more values",
    f'{HEADER}\na,1,1\n"b,2,2\n': "not a readable|line 3",
}


@pytest.mark.parametrize(("text", "message"), BAD_FILES.items(), ids=BAD_FILES.values())
@pytest.mark.parametrize("role", ["base", "model"])
def test_bad_files_are_refused_by_name(three, tmp_path, text, message, role):
    bad, good = write(tmp_path / "bad.csv", text), three[0][0]
    pair = (bad, [good]) if role == "base" else (good, [bad])
    with pytest.raises(E2MCError, match=message) as caught:
        compare_prediction_files(*pair)
    assert str(bad) in str(caught.value)


def test_line_numbers_count_over_chunks(tmp_path):
    rows = "".join(f"s{i},{i % 2},0\n" for i in range(100))
    bad = write(tmp_path / "bad.csv", f"{HEADER}\n{rows}s3,1,1\n")
    with pytest.raises(E2MCError, match=r"line 102, sample 's3': .* already on line 5"):
        compare_prediction_files(bad, [bad])


def test_missing_binary_and_directory_are_refused(three, tmp_path):
    binary = tmp_path / "model.npy"
    binary.write_bytes(b"\x93NUMPY\xff\xfe\x00" * 9)
    for path in (tmp_path / "absent.csv", binary, tmp_path):
        with pytest.raises(E2MCError, match=re.escape(str(path))):
            compare_prediction_files(three[0][0], [path])
    with pytest.raises(E2MCError, match="no model"):
        compare_prediction_files(three[0][0], [])


def test_other_samples_and_other_labels_are_refused(tmp_path):
    base = write(tmp_path / "a.csv", f"{HEADER}\nx,1,1\ny,2,1\nz,1,1\n")
    cases = {
        "x,1,1\ny,2,2\n": r"a.csv, line 4, sample 'z': not in .*b.csv \(1 of 3",
        "x,1,1\ny,2,2\nz,1,1\nw,1,1\n": r"b.csv, line 5, sample 'w': not in .*a.csv \(1 of 4",
        "z,1,1\ny,3,2\nx,1,1\n": r"b.csv, line 3, sample 'y': its label .*a.csv, line 3 \(1 labels",
    }
    for rows, message in cases.items():
        model = write(tmp_path / "b.csv", f"{HEADER}\n{rows}")
        with pytest.raises(E2MCError, match=message):
            compare_prediction_files(base, [model])


MULTI = "sample,class,label,score"


def scored(path, labels, scores, order=None):
    rows = [
        f"img{i},class {c},{labels[i, c]},{scores[i, c]!r}"
        for i in range(len(labels))
        for c in range(labels.shape[1])
    ]
    rows = rows if order is None else [rows[i] for i in order]
    return write(path, "\n".join([MULTI, *rows]) + "\n")


@pytest.fixture
def detections(tmp_path):
    rng = np.random.default_rng(2)
    labels = rng.choice([-1, -1, 1, 0], size=(40, 4))
    scores = [labels * weight + rng.normal(size=(40, 4)) for weight in (0.3, 0.6)]
    scores = [np.array(s.tolist(), dtype=object) for s in scores]
    paths = [
        scored(tmp_path / "a.csv", labels, scores[0]),
        scored(tmp_path / "b.csv", labels, scores[1], rng.permutation(160)),
    ]
    return paths, labels, scores


def test_multi_label_files_compare_average_precisions(detections):
    paths, labels, scores = detections
    before, after = (
        [voc_average_precision(labels[:, c], s[:, c].astype(float)) for c in range(4)]
        for s in scores
    )
    result = compare_scores(before, after)
    row = compare_prediction_files(paths[0], paths[1:]).iloc[0]
    assert row["base_map"] == pytest.approx(np.mean(before), abs=1e-12)
    assert row["map"] == pytest.approx(np.mean(after), abs=1e-12)
    assert row["n"] == 4
    assert row["permutation_pvalue"] == row["holm_pvalue"] == result.permutation_pvalue
    assert row["interval_low"] == pytest.approx(result.interval[0])
    screen = render(compare.compare_prediction_files(paths[0], paths[1:]), "screen")
    assert f"mAP {100 * np.mean(before):.2f} %" in screen
    assert "9999 resamples" in screen


BAD_SCORES = {
    "x,a,1,nan\n": r"line 2, sample 'x': score 'nan' is not a finite number",
    "x,a,1,inf\n": "score 'inf' is not",
    "x,a,2,0.5\n": r"label '2' is not 1",
    "x,a,1,0.5\nx,a,1,0.5\n": r"line 3, sample 'x': this sample and class is already on line 2",
    "x,a,1,0.5\ny,a,-1,0.5\n": "class 'a' is the only one",
    "x,a,1,0.5\nx,b,0,0.5\ny,a,-1,0.5\ny,b,-1,0.5\n": r"class 'b' has no sample labelled present",
    "x,a,1,0.5\nx,b,1,0.5\ny,a,-1,0.5\ny,b,1,0.5\n": r"class 'b' has no sample labelled absent",
}


@pytest.mark.parametrize(("rows", "message"), BAD_SCORES.items(), ids=BAD_SCORES.values())
def test_bad_multi_label_files_are_refused(tmp_path, rows, message):
    path = write(tmp_path / "bad.csv", f"{MULTI}\n{rows}")
    with pytest.raises(E2MCError, match=message):
        compare_prediction_files(path, [path])


def test_two_kinds_do_not_compare(three, detections):
    with pytest.raises(E2MCError, match="different kinds"):
        compare_prediction_files(three[0][2], [detections[0][0]])


def test_screen_csv_and_latex_agree(three, tmp_path, capsys):
    paths, *_ = three
    run(paths[0], paths[1:], csv=tmp_path / "out" / "t.csv", latex=tmp_path / "out" / "t.tex")
    printed = capsys.readouterr().out
    table = compare_prediction_files(paths[0], paths[1:])
    written = pd.read_csv(tmp_path / "out" / "t.csv")
    pd.testing.assert_frame_equal(written, table, check_exact=True, check_dtype=False)
    assert (tmp_path / "out" / "t.csv").read_text() == table.to_csv(index=False)
    latex = (tmp_path / "out" / "t.tex").read_text()
    for _, row in table.iterrows():
        difference = f"{100 * row['difference']:+.2f}"
        assert difference in printed
        assert f"${difference}$" in latex
    assert [line for line in latex.splitlines() if line.startswith("\\")] == [
        "\\begin{tabular}{lrrrrrrrrrrr}",
        "\\toprule",
        "\\midrule",
        "\\bottomrule",
        "\\end{tabular}",
    ]
    assert all(row.count("&") == 11 for row in latex.splitlines() if row.endswith("\\\\"))


def test_latex_escapes_names_and_shows_extremes(tmp_path):
    labels = np.arange(40) % 2
    base = classified(tmp_path / "all_wrong.csv", labels, 1 - labels)
    model = classified(tmp_path / "100%_right.csv", labels, labels)
    latex = render(compare.compare_prediction_files(base, [model]), "latex")
    assert r"100\%\_right.csv" in latex
    assert r"$\infty$" in latex
    assert "$<0.001$" in latex


def test_identical_files_show_no_difference(three):
    path = three[0][0]
    table = compare.compare_prediction_files(path, [path])
    row = table[0]
    assert (row["difference"], row["permutation_pvalue"], row["mcnemar_pvalue"]) == (0, 1, 1)
    assert math.isnan(row["odds_ratio"])
    assert next(csv.DictReader(render(table, "csv").splitlines()))["odds_ratio"] == ""


def as_other_programs_write(path, labels, guesses, delimiter):
    rows = [
        delimiter.join([f"img {i}", "0.5", str(b), str(a)])
        for i, (a, b) in enumerate(zip(labels, guesses, strict=True))
    ]
    return write(path, "\n".join([delimiter.join(["id", "score", "pred", "y"]), *rows]) + "\n")


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_other_columns_and_delimiters_say_the_same(three, tmp_path, delimiter):
    paths, labels, guesses = three
    others = [
        as_other_programs_write(tmp_path / f"{i}.txt", labels, guess, delimiter)
        for i, guess in enumerate(guesses)
    ]
    columns = {"sample": "id", "label": "y", "prediction": "pred"}
    expected = compare_prediction_files(paths[0], paths[1:]).drop(columns=["model", "base"])
    actual = compare_prediction_files(others[0], others[1:], columns)
    pd.testing.assert_frame_equal(actual.drop(columns=["model", "base"]), expected)
    with pytest.raises(E2MCError, match="--columns sample=NAME"):
        compare_prediction_files(others[0], others[1:])


def test_a_pipe_is_read_once(three, tmp_path):
    paths, *_ = three
    pipe = tmp_path / "pipe"

    def compared(text):
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_text, args=(text,))
        writer.start()
        try:
            return compare_prediction_files(pipe, [paths[1]])
        finally:
            writer.join()
            pipe.unlink()

    text = paths[0].read_text()
    expected = compare_prediction_files(paths[0], [paths[1]])
    assert compared(text).drop(columns="base").equals(expected.drop(columns="base"))
    with pytest.raises(E2MCError, match=r"pipe, line 202: this sample is already on line 5"):
        compared(text + "img 3,1,1\n")


def test_json_has_everything_and_a_verdict(three, capsys):
    paths, *_ = three
    run(paths[0], paths[1:], as_json=True)
    printed = json.loads(capsys.readouterr().out)
    table = compare.compare_prediction_files(paths[0], paths[1:])
    assert [{k: v for k, v in row.items() if k != "verdict"} for row in printed] == table
    assert [row["verdict"] for row in printed] == [verdict(row) for row in table]
    assert (
        json.loads(render(compare.compare_prediction_files(paths[0], [paths[0]]), "json"))[0][
            "odds_ratio"
        ]
        is None
    )


def test_the_verdict_follows_the_adjusted_p_value():
    row = {"model": "b.csv", "base": "a.csv", "difference": 0.0125}
    row |= {"interval_low": 0.002, "interval_high": 0.023, "holm_pvalue": 0.0004}
    assert verdict(row) == (
        "b.csv is better than a.csv (+1.25 points, 95 % interval +0.20 to +2.30, p < 0.001)."
    )
    assert "b.csv is worse" in verdict(row | {"difference": -0.01})
    assert "No clear difference" in verdict(row | {"holm_pvalue": 0.05})
