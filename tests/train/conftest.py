"""What tests of training share."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import pytest


@functools.cache
def _some_curves() -> bytes:
    from spatialfm.train.curves import draw_curves

    with tempfile.TemporaryDirectory() as folder:
        draw_curves([{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}], [], Path(folder) / "curves.png")
        return (Path(folder) / "curves.png").read_bytes()


@pytest.fixture
def own_curves():
    """Asked for by a test whose run draws its curves."""


@pytest.fixture(autouse=True)
def _curves_once(request, monkeypatch):
    """Time: most of that of a tiny run goes into its figure, which `test_curves.py` looks at."""
    if "own_curves" not in request.fixturenames:
        for module in ("monitor", "stopped"):
            monkeypatch.setattr(
                f"spatialfm.train.{module}.draw_curves", lambda losses, checks, path: path.write_bytes(_some_curves())
            )
