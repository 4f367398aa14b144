from pathlib import Path

import numpy as np
import pandas as pd

from e2mc.reporting.frames import read_csv, to_csv


def test_what_was_written_is_read(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "base": ["a", "b"],
            "criterion": ["none", "1"],
            "mean": [1 / 3, np.nan],
            "note": ["", ""],
            "published_mcnemar_p": ["0.02", ""],
        }
    )
    path = tmp_path / "frame.csv"
    path.write_text(to_csv(frame), encoding="utf-8", newline="")
    assert path.read_bytes() == (
        b"base,criterion,mean,note,published_mcnemar_p\na,none,0.333333,,0.02\nb,1,,,\n"
    )
    rounded = frame.assign(mean=[0.333333, np.nan])
    pd.testing.assert_frame_equal(read_csv(path), rounded, check_dtype=False)
