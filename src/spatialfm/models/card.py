"""What a user must know of a model and what the engine needs: one frozen card per model."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from .._described import html_table
from .._errors import ModelError
from .._public import meant, taken
from .._ranges import at_least
from .._signatures import rules_of
from .preparation import Preparation
from .recipe import PADDING, Recipe

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
        Whether its features of a cell are independent of the pixel size, so that images need not be brought to one.
    patch_size
        Side in pixels of a token.
    marker_vocabulary
        How the model identifies a marker: ``"ids"``, ``"names"``, ``"protein embedding"``, ``"none"``, or ``"rgb"`` (a
        model of RGB images, which takes each marker as a grey image).
    pads
        Whether windows may reach beyond the image, where all is zero before normalising.
    attention_head
        Head of attention that the paper reads (`spatialfm.tl.marker_attention`); None: the sum of all.
    recipe
        How it was published to be used: all that decides the numbers.
    outputs, default_output
        Outputs offered, and the one that becomes the embedding.
    hub, weights_file
        Hub repository and the file in it.
    remote_code
        Whether it is run by code in its repository, only with ``trust_remote_code=True``.
    needs_weights, needs_mask
        Whether weights must be given; whether the model also takes the cell's mask.
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
    patch_size: Annotated[int, at_least(1)] | None = None
    marker_vocabulary: Literal["ids", "names", "protein embedding", "none", "rgb"] = "none"
    pads: bool = True
    attention_head: Annotated[int, at_least(0)] | None = None
    recipe: Recipe = field(default_factory=Recipe)
    outputs: tuple[str, ...] = ("patch",)
    default_output: str = "patch"
    hub: str | None = None
    weights_file: str | None = None
    remote_code: bool = False
    needs_weights: bool = True
    needs_mask: bool = False

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
                self._refuse(f"mpp is {self.mpp}; it must be in mpp_range {self.mpp_range}")

    def _refuse(self, why: str) -> None:
        raise ModelError(f"Card {self.name!r}: {why}.")

    def settle(self, recipe: Recipe, *, cells: bool = True) -> Recipe:
        """A recipe with what depends on the model filled in: how it resamples and pads, and the preparation by name.

        Parameters
        ----------
        recipe
            The recipe as it was asked for.
        cells
            Whether cells are embedded; tiles alone need no tokens to share out.

        Raises
        ------
        ModelError
            If the recipe cannot be this model's.
        """
        changes: dict[str, Any] = {}
        if recipe.resampling is None:
            changes["resampling"] = "area" if self.mpp is None else "triangle"
        if recipe.mode == "tile" and recipe.padding is None:
            changes["padding"] = PADDING if self.pads else 0
        if cells and recipe.mode == "tile" and not {"token", "summary"} & set(self.outputs):
            raise ModelError(f"{self.name} offers no tokens to share out to cells. Pass recipe={{'mode': 'crop'}}.")
        if isinstance(recipe.preparation, str):
            own = self.recipe.preparation
            known = {one.name: one for one in own.variants()} if isinstance(own, Preparation) else {}
            if recipe.preparation not in known:
                raise ModelError(
                    f"{self.name} has no preparation {recipe.preparation!r}; {meant(recipe.preparation, known)}"
                )
            changes["preparation"] = known[recipe.preparation]
        return recipe.replace(**changes) if changes else recipe

    def _repr_html_(self) -> str:
        return html_table(self.name, {one.name: getattr(self, one.name) for one in fields(self)})
