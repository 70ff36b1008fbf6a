"""Progress bars: `settings.progress` turns them off, and so do tqdm's own variables (``TQDM_DISABLE=1``)."""

from __future__ import annotations

from collections.abc import Iterable

from tqdm.auto import tqdm

from ._settings import settings


def progress_bar(iterable: Iterable | None = None, *, hidden: bool = False, **options: object) -> tqdm:
    """A bar of `tqdm.auto`; `disable` is left out where the bar is shown, as it would outdo the environment."""
    if hidden or not settings.progress:
        options["disable"] = True
    return tqdm(iterable, **options)
