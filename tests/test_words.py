"""Warnings point at the line of the user; bars listen to tqdm's own variables."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import pytest

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, said_once, warn


def test_a_warning_of_a_run_points_at_the_line_that_called_the_package():
    sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=96, random_state=0)
    sfm.pp.cell_table(sdata)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # resample=False is warned of at a depth of several files
        sfm.tl.embed_cells(sdata, "kronos", weights="random", markers=["DAPI"], mpp=1.9, resample=False)
    ours = [one for one in caught if issubclass(one.category, SpatialfmWarning)]
    assert ours
    assert {one.filename for one in ours} == {__file__}


def test_frames_of_other_packages_between_are_skipped():
    scope: dict[str, object] = {}
    file = sys.modules["spatialfm"].__file__
    exec(compile("def outer(call):\n    return sorted([1, 2], key=call)\n", file, "exec"), scope)
    exec(
        compile("def inner(number):\n    return warn(str(number)) or number\n", file, "exec"),
        scope | {"warn": warn},
        inner := {},
    )
    with pytest.warns(SpatialfmWarning) as caught:
        scope["outer"](inner["inner"])
    assert {one.filename for one in caught} == {__file__}


@pytest.mark.parametrize("hidden", [False, True])
def test_bars_respect_tqdm_disable(hidden):
    code = "from spatialfm._progress import progress_bar\nlist(progress_bar(range(3), desc='bar of a run'))"
    environment = {name: value for name, value in os.environ.items() if name != "TQDM_DISABLE"}
    environment |= {"SPATIALFM_PROGRESS": "1"} | ({"TQDM_DISABLE": "1"} if hidden else {})
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert ("bar of a run" in ran.stderr) is not hidden


def test_other_packages_are_quoted_once():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with said_once():
            for number in range(6):
                warnings.warn(f"hint {number % 2}", FutureWarning, stacklevel=1)
    assert sorted(str(one.message) for one in caught) == ["hint 0", "hint 1"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FutureWarning), said_once():  # what the user wants as an error stays one
            warnings.warn("hint", FutureWarning, stacklevel=1)


def test_writing_a_cohort_does_not_repeat_itself(tmp_path):
    sdata = sfm.datasets.simulate_cohort(n_patients=2, n_samples=2, image_size=96, random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sfm.io.write(sdata, tmp_path / "cohort.zarr")
    messages = [(one.category, str(one.message)) for one in caught]
    assert len(messages) == len(set(messages))
