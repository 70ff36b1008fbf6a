"""What a model does to the pixels of a whole image before windows are cut out of it."""

from __future__ import annotations

import hashlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .._errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor


class Pixels(Protocol):
    """Lazy access to the pixels of one image at the model's scale."""

    @property
    def channels(self) -> tuple[int, ...]:
        """Indices of the channels that are read, in the order of the markers."""

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of these channels."""

    @property
    def intensity_max(self) -> float:
        """Pixel value that becomes 1."""

    @property
    def ratio(self) -> float:
        """Image pixels per model pixel."""

    @property
    def image(self) -> Any:
        """Dask array ``(c, y, x)``."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in model pixels."""

    @property
    def fingerprint(self) -> str:
        """Digest of all pixels, and of how they are read."""

    def pixels(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Pixels ``(M, y1 - y0, x1 - x0)`` divided by `intensity_max`; zero outside of the image."""


class TissueMask(Protocol):
    """Where an image holds tissue; found when it is asked for."""

    @property
    def identity(self) -> str:
        """What decides the mask, besides the pixels."""

    def find(self) -> tuple[np.ndarray, int]:
        """Mask, and how many model pixels one of its pixels spans."""


@dataclass(frozen=True)
class PreparedPixels:
    """An image whose pixels are prepared as they are read; all else is as `reader` has it.

    A subclass implements `pixels`. Every value must depend on its place in the image alone, never on the region that
    was asked for, so that results cannot depend on how an image is cut into blocks.

    Attributes
    ----------
    reader
        The image.
    """

    reader: Pixels

    def __getattr__(self, name: str) -> Any:
        if name == "reader":  # not set yet while unpickling
            raise AttributeError(name)
        return getattr(self.reader, name)

    @property
    def preparation(self) -> list[object]:
        """What decides the pixels, besides the reader: goes into the identity of all that is kept."""
        return [code_of(type(self)), *(getattr(self, one.name) for one in fields(self) if one.name != "reader")]

    def pixels(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Prepared pixels, float32 ``(M, y1 - y0, x1 - x0)``."""
        raise NotImplementedError

    def padded(self, rows: int, columns: int) -> PreparedPixels:
        """The same with zeros around the image that are there before everything, where that makes a difference."""
        return self

    def of_statistics(self) -> PreparedPixels:
        """The pixels that mean and standard deviation of a cohort are of."""
        return self

    def highest(self) -> np.ndarray | None:
        """Largest value of each marker ``(M,)`` that statistics can be of, where it is known."""
        return None

    def notes(self) -> dict[str, Any]:
        """Entries of the record on this image."""
        return {}


class Preparation(ABC):
    """Prepares images; a frozen dataclass, so that its fields are part of what decides the numbers.

    An encoder from outside brings its own on the recipe of its card: ``Recipe(preparation=MyPreparation())``.

    Attributes
    ----------
    name
        Stands in the record; a recipe that was read from a record names it.
    words
        What was done to pixels, for messages: ``"clipped, log-transformed"``.
    layout
        Folder of a published data set's statistics that are of pixels prepared in this way, in spora's layout.
    lost
        What `undo` cannot bring back, for records.
    """

    name: str
    words: str = "prepared"
    layout: str = ""
    lost: str = ""

    @abstractmethod
    def prepare(self, reader: Pixels, tissue: TissueMask, known: np.ndarray | None = None) -> PreparedPixels:
        """Prepare one image.

        Parameters
        ----------
        reader
            The image.
        tissue
            Where it holds tissue.
        known
            Values of each marker ``(M,)`` that were published for this very image, NaN where there is none.
        """

    def undo(self, pixels: Tensor) -> Tensor:
        """Prepared pixels as they were, as far as that is possible.

        Raises
        ------
        ModelError
            If the preparation does not say how.
        """
        raise ModelError(
            f"Preparation {self.name!r} does not say how it is undone: predicted pixels stay as it made them. Pass "
            "space='standardised'."
        )

    def variants(self) -> Sequence[Preparation]:
        """Preparations that a recipe may name instead; this one is among them."""
        return (self,)


def code_of(kind: type) -> list[str]:
    """Digests of the source of a class and its bases, where these are not of this package, which has a version."""
    users = [
        base for base in kind.__mro__ if base.__module__.partition(".")[0] not in ("spatialfm", "torch", "builtins")
    ]
    return [_digest_of(base) for base in users]


def _digest_of(kind: type) -> str:
    """Source of a class; where it has no file, what it is pickled as."""
    import cloudpickle

    try:
        source = inspect.getsource(kind).encode()
    except (OSError, TypeError):
        try:
            source = cloudpickle.dumps(kind)
        except Exception:  # its methods may raise any error
            return ""
    return hashlib.sha256(source).hexdigest()
