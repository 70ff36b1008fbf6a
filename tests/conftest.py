"""Fixtures shared by all tests."""

from __future__ import annotations

import functools
import gc
import inspect
import itertools
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from graphs import instead_of_compiling
from simulated import simulate_once
from spatial_images import instead_of_reading_types

ROOT = Path(__file__).resolve().parents[1]
_NUMBERS = itertools.count()
NEEDED = 4 * 2**30  # bytes of memory that are free, of which tests take some hundred million


NAME_BEFORE = re.compile(r"[A-Za-z_][\w.]*$")
ARGUMENT = re.compile(r"(?<![\w.\"'{])([a-z][a-z_0-9]*)=(?!=)")


def calls_in(text: str) -> tuple[dict[str, list[str]], str]:
    """Calls that a text spells out, with the names of their arguments, however nested; and the text without them."""
    calls: dict[str, list[str]] = {}
    rest, start = "", 0
    while (at := text.find("(", start)) >= 0:
        depth, end = 1, at + 1
        while depth and end < len(text):
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        inner, inside = calls_in(text[at + 1 : end - 1])
        calls |= inner
        name = NAME_BEFORE.search(text[start:at])
        if name:
            calls[name[0]] = calls.get(name[0], []) + ARGUMENT.findall(inside)
            inside = ""
        rest += text[start:at] + f"({inside})"
        start = end
    return calls, rest + text[start:]


def problems(message: str, function: Callable | None) -> list[str]:
    """What a message proposes that cannot be done; `function` is the public function that the user called."""
    import spatialfm as sfm

    found = []
    calls, rest = calls_in(message)
    for name, arguments in calls.items():
        if name.startswith("sfm."):
            try:
                target = functools.reduce(getattr, name.split(".")[1:], sfm)
            except AttributeError:
                found.append(f"{name} does not exist")
                continue
            if callable(target):
                found += [f"{name} has no argument {one}=" for one in arguments if not takes(target, one)]
    if function is not None:
        left = [one for one in ARGUMENT.findall(rest) if not takes(function, one)]
        found += [f"{function.__name__} has no argument {one}=" for one in left]
    return found


def takes(function: Callable, name: str) -> bool:
    """Whether a function has an argument of that name: its own, or an option of a model or objective that it passes."""
    from spatialfm.models import list_models
    from spatialfm.models.registry import options_of

    parameters = inspect.signature(function).parameters
    if name in parameters:
        return True
    passes_on = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    if function.__name__ == "new_objective":
        from spatialfm.train.objectives.registry import objectives

        return any(name in inspect.signature(build).parameters for build in objectives().values())
    return passes_on and any(name in options_of(model) for model in list_models().index)


def called() -> Callable | None:
    """The public function that the user called: the outermost one on the stack."""
    frame, outermost = sys._getframe(1), None
    while frame is not None:
        if frame.f_code.co_filename.endswith("_public.py") and "function" in frame.f_locals:
            outermost = frame.f_locals["function"]
        frame = frame.f_back
    return outermost


def _folder(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable, ROOT.parent / "shared" / default))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real images; the test is skipped where it is absent."""
    folder = _folder("SPATIALFM_DATA", "data")
    if not folder.is_dir():
        pytest.skip("no folder of real data; set SPATIALFM_DATA")
    return folder


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder of reference outputs; the test is skipped where it is absent."""
    folder = _folder("SPATIALFM_REFERENCE", "reference")
    if not folder.is_dir():
        pytest.skip("no folder of reference outputs; set SPATIALFM_REFERENCE")
    return folder


def pytest_configure(config):
    """Folders of tests are in memory where there is room: a disk takes twice as long for thousands of small files."""
    memory, root = Path("/dev/shm"), "PYTEST_DEBUG_TEMPROOT"
    if config.option.basetemp is None and root not in os.environ and os.access(memory, os.W_OK):
        free = int(re.search(r"MemAvailable: +(\d+)", Path("/proc/meminfo").read_text(encoding="utf-8"))[1]) * 1024
        if min(free, shutil.disk_usage(memory).free) > NEEDED:
            os.environ[root] = str(memory)


def pytest_collection(session):
    """Garbage is not looked for while libraries and thousands of tests are loaded, which stay to the end."""
    gc.disable()
    simulate_once()


def pytest_collection_finish(session):
    """And these are left out of what is looked through afterwards: that was a tenth of the time."""
    instead_of_compiling(sys.modules)
    instead_of_reading_types(sys.modules)
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    gc.enable()


@pytest.fixture(autouse=True)
def _quiet_and_apart(tmp_path_factory, monkeypatch):
    """No progress bars, and no test writes into the user's cache."""
    import matplotlib

    import spatialfm as sfm

    matplotlib.use("Agg")
    sfm.settings.progress = False
    # a name of its own: `mktemp` would list all folders that thousands of tests before this one have made
    sfm.settings.cache_dir = tmp_path_factory.getbasetemp() / f"cache-{next(_NUMBERS)}"
    sfm.settings.cache_dir.mkdir()
    yield
    sfm.settings.reset()


@pytest.fixture(autouse=True)
def _advice_can_be_followed(monkeypatch):
    """What errors and warnings propose is compared with what there is, in every test that meets one."""
    from spatialfm._errors import SpatialfmError, SpatialfmWarning

    wrong: list[str] = []
    for kind in (SpatialfmError, SpatialfmWarning):

        def remember(self, *args, _init=kind.__init__):
            _init(self, *args)
            if args:
                said = str(self.args[0])  # as the user reads it: in the words of the function that was called
                wrong.extend(f"{one}: {said}" for one in problems(said, called()))

        monkeypatch.setattr(kind, "__init__", remember)
    yield
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def make_sdata():
    """Factory of a SpatialData from plain arrays, as the readers make it."""
    import dask.array as da
    import spatialdata as sd
    from spatialdata.models import Image2DModel, Labels2DModel
    from spatialdata.transformations import Scale

    def make(samples: dict, channels: list[str] | dict[str, list[str]], *, mpp: float = 0.5, chunks: int = 64):
        """`samples`: {sample: (image (c, y, x), labels (y, x))}."""
        images, labels = {}, {}
        for sample, (image, label) in samples.items():
            names = channels[sample] if isinstance(channels, dict) else channels
            scale = {sample: Scale([mpp, mpp], axes=("x", "y"))}
            images[f"image_{sample}"] = Image2DModel.parse(
                da.from_array(image, chunks=(1, chunks, chunks)),
                dims=("c", "y", "x"),
                c_coords=names,
                transformations=dict(scale),
            )
            if label is not None:
                labels[f"cells_{sample}"] = Labels2DModel.parse(
                    da.from_array(label, chunks=chunks), dims=("y", "x"), transformations=dict(scale)
                )
        return sd.SpatialData(images=images, labels=labels)

    return make


@pytest.fixture
def blobs():
    """Factory of an image and labels with round cells of known places: (image uint8 (c, y, x), labels (y, x))."""
    import numpy as np

    def make(seed: int = 0, *, n_channels: int = 3, side: int = 150, n_cells: int = 20, radius: int = 6):
        rng = np.random.default_rng(seed)
        image = rng.integers(0, 120, (n_channels, side, side)).astype(np.uint8)
        labels = np.zeros((side, side), np.int32)
        y, x = np.mgrid[:side, :side]
        for label in range(1, n_cells + 1):
            cy, cx = rng.uniform(0, side, 2)
            inside = (y - cy) ** 2 + (x - cx) ** 2 < radius**2
            free = inside & (labels == 0)
            if free.sum() < 5:
                continue
            labels[free] = 3 * label  # labels with gaps, as real masks have them
            image[:, free] += rng.integers(20, 120, (n_channels, 1)).astype(np.uint8)
        return image, labels

    return make


@pytest.fixture(autouse=True)
def _nothing_is_remembered():
    """Columns that another test has made with an outcome are not known in this one."""
    from spatialfm import _origin

    _origin.forget()
