"""What a user must know of a model and what the engine needs: one frozen card a model."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Literal

from .._errors import ModelError
from .._public import taken
from .._ranges import at_least
from .._signatures import rules_of

OUTPUTS = ("patch", "marker", "token", "summary", "attention")


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """A model's properties.

    Attributes
    ----------
    name, family, title
        Name in the registry, family that shares one loader, one-line description.
    license, commercial, gated
        Licence of the weights, whether it allows commercial use, whether the hub asks for consent first.
    reference
        Paper.
    trained_on
        Data the weights were made from.
    domains
        Kinds of images it was trained on: ``"fluorescence"``, ``"ion"`` (IMC, MIBI), ``"rgb"``; empty: it needs none.
    parameters
        Number of parameters.
    embedding_dim
        Width ``D`` of an embedding; None where it depends on the panel.
    mpp
        Native µm per pixel; None where any will do.
    mpp_range
        µm per pixel the model was trained on, where that is a range; images inside are not resampled.
    mpp_reference
        µm per pixel that images are brought to where the model has no native size but measures in µm; where an image
        of the run is coarser, all are brought to that one's.
    size_free
        Whether what it says of a cell depends on no pixel size, so that images need not be brought to one.
    window
        Side in pixels of the published cell window; None: as large as the largest cell.
    patch_size
        Side in pixels of a token.
    marker_vocabulary
        How the model knows a marker: ``"ids"``, ``"names"``, ``"protein embedding"``, ``"none"``, or ``"rgb"`` (a model
        of RGB images, which takes each marker as a grey image).
    normalization
        What is done to pixels before the model: ``"marker statistics"`` (mean and standard deviation of each marker),
        ``"scale"`` (division by the standard deviation of each marker), ``"virtues"`` (clipping at the 99th percentile
        of image and channel and log1p, then mean and standard deviation of each marker over the tissue of the cohort,
        then a blur) or ``"none"``.
    background
        What becomes of pixels outside the cell: ``"zero"`` (after normalising) or ``"keep"``.
    mode
        How the paper embeds cells: a window around each (``"crop"``), or tiles over the image whose tokens are shared
        out to the cells (``"tile"``).
    pads
        Whether windows may reach beyond the image, where all is zero before normalising.
    outputs, default_output
        Outputs offered, and the one that becomes the embedding.
    hub, weights_file
        Hub repository and the file in it.
    remote_code
        Whether it is run by code in its repository, only with ``trust_remote_code=True``.
    needs_weights, needs_mask, standardize
        Whether weights must be given; whether the model also takes the cell's mask; whether features are brought to
        mean 0 and standard deviation 1 over all cells, because they come in different units.
    """

    name: str
    family: str
    title: str
    license: str
    commercial: bool
    gated: bool
    reference: str
    trained_on: str
    domains: tuple[Literal["fluorescence", "ion", "rgb"], ...] = ()
    parameters: Annotated[int, at_least(0)] | None = None
    embedding_dim: Annotated[int, at_least(1)] | None = None
    mpp: float | None = None
    mpp_range: tuple[float, float] | None = None
    mpp_reference: float | None = None
    size_free: bool = False
    window: int | None = None
    patch_size: Annotated[int, at_least(1)] | None = None
    marker_vocabulary: Literal["ids", "names", "protein embedding", "none", "rgb"] = "none"
    normalization: Literal["marker statistics", "scale", "virtues", "none"] = "none"
    background: Literal["zero", "keep"] = "zero"
    mode: Literal["crop", "tile"] = "crop"
    pads: bool = True
    outputs: tuple[str, ...] = ("patch",)
    default_output: str = "patch"
    hub: str | None = None
    weights_file: str | None = None
    remote_code: bool = False
    needs_weights: bool = True
    needs_mask: bool = False
    standardize: bool = False

    def __post_init__(self) -> None:
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in taken("ModelCard", given, rules_of(type(self))).items():
            object.__setattr__(self, name, value)  # frozen
        for name in ("name", "family", "title", "license", "reference", "trained_on"):
            if not getattr(self, name).strip():
                self._refuse(f"{name} is empty")
        if unknown := set(self.outputs) - set(OUTPUTS):
            self._refuse(f"unknown output {min(unknown)!r}; outputs are {OUTPUTS}")
        if len(set(self.outputs)) < len(self.outputs):
            self._refuse(f"outputs names one twice: {self.outputs}")
        if self.default_output not in self.outputs:
            self._refuse(f"default output {self.default_output!r} is not among {self.outputs}")
        if self.mpp_range is not None:
            low, high = self.mpp_range
            if not low <= high:
                self._refuse(f"mpp_range is {self.mpp_range}; the smaller size comes first")
            if self.mpp is None or not low <= self.mpp <= high:
                self._refuse(f"mpp is {self.mpp}; it must lie in mpp_range {self.mpp_range}")

    def _refuse(self, why: str) -> None:
        raise ModelError(f"Card {self.name!r}: {why}.")

    def _repr_html_(self) -> str:
        from html import escape

        rows = "".join(
            f"<tr><th style='text-align:left'>{field.name}</th><td style='text-align:left'>"
            f"{escape(str(getattr(self, field.name)))}</td></tr>"
            for field in fields(self)
        )
        return f"<table>{rows}</table>"
