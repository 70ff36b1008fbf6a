"""A method on images needs images, and what is said of them is not ignored in silence."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from spatialfm._errors import TableError
from spatialfm.embed.positivity.asked import NOT_SAID, check_images

IMAGES, TABLE = SimpleNamespace(tables={}), SimpleNamespace()


def test_images_are_needed_by_a_method_that_looks_at_them():
    check_images(IMAGES, dict(NOT_SAID), "nimbus", on_images=True)
    check_images(IMAGES, NOT_SAID | {"weights": "w", "magnification": 20}, "nimbus", on_images=True)
    with pytest.raises(TableError, match="method='nimbus' looks at images"):
        check_images(TABLE, dict(NOT_SAID), "nimbus", on_images=True)


@pytest.mark.parametrize("data", [IMAGES, TABLE])
def test_what_is_said_of_images_is_refused_by_a_method_on_cells(data):
    check_images(data, dict(NOT_SAID), "gmm", on_images=False)
    check_images(data, NOT_SAID | {"augmentation": None}, "gmm", on_images=False)
    said = {"weights": "w", "augmentation": "none", "magnification": 20, "normalizers": {"CD3": 1.0}, "elements": {},
            "run": {}}  # fmt: skip
    for name, value in said.items():
        with pytest.raises(TableError, match=f"{name}= is about images, and method='gmm'"):
            check_images(data, NOT_SAID | {name: value}, "gmm", on_images=False)
