from __future__ import annotations

import json

import pandas as pd
import pytest

from spatialfm._errors import RunError
from spatialfm.train.kept import keep_windows

TABLE = pd.DataFrame({"image": [0, 0], "y": [0, 32], "x": [0, 0], "sample": ["a", "a"]})


def test_the_first_call_writes_and_the_second_compares(tmp_path):
    keep_windows(tmp_path / "run", TABLE, {"images": "1", "crop": "2"})
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "run" / "windows.parquet"), TABLE)
    keep_windows(tmp_path / "run", TABLE, {"crop": "2", "images": "1"})
    with pytest.raises(RunError, match=r"The run in '.*run' was of other windows: what differs is crop, stride\."):
        keep_windows(tmp_path / "run", TABLE, {"images": "1", "crop": "3", "stride": "4"})
    assert json.loads((tmp_path / "run" / "windows.json").read_text()) == {"images": "1", "crop": "2"}


def test_what_cannot_be_compared_is_not_taken_for_the_same(tmp_path):
    (tmp_path / "windows.json").write_text("{")
    with pytest.raises(RunError, match="whether this run sees the same windows cannot be told"):
        keep_windows(tmp_path, TABLE, {"images": "1"})
