"""KRONOS2: the successor of KRONOS, which brings its own code (https://huggingface.co/MahmoodLab/KRONOS2).

Nothing of that code is part of this package. It is run only where the user asks for it, through `transformers`.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .._errors import ModelError, counted, warn
from .._logging import logger
from . import hub
from .card import ModelCard
from .encoder import Encoder, EncoderOutput, MarkerEntry, Weights
from .recipe import Recipe
from .registry import register
from .remote_code import ask_for_consent, checksum_of, model_in, repository

METADATA_FILE = "marker_metadata.csv"

KRONOS2 = ModelCard(
    name="kronos2",
    family="kronos2",
    title="KRONOS2 ViT-B/16",
    license="CC-BY-NC-ND-4.0",
    commercial=False,
    gated=True,
    reference="Shaban et al. 2025, A Foundation Model for Spatial Proteomics, arXiv:2506.03373; model card of "
    "MahmoodLab/KRONOS2",
    domains=("fluorescence",),
    trained_on="multiplexed fluorescence images of tissue (model card of MahmoodLab/KRONOS2)",
    parameters=None,  # what the repository holds, this package has not seen
    embedding_dim=768,
    patch_size=16,
    marker_vocabulary="names",
    # the window is that of KRONOS, the model card's example has 256; its own code normalises, with its own statistics
    recipe=Recipe(window=64, background="keep"),
    outputs=("patch",),
    default_output="patch",
    hub="MahmoodLab/KRONOS2",
    weights_file="config.json",
    remote_code=True,
)


class Kronos2Encoder(Encoder):
    """KRONOS2, run by its own code.

    Parameters
    ----------
    card
        Its card.
    model
        The model: called as ``model(pixels, marker_names)`` it gives ``(B, 768)``, and its
        ``preprocess(pixels, marker_names, preferred_dapi=...)`` normalises an array of pixels from 0 to 1.
    weights
        For the record.
    vocabulary
        Markers that the model has.
    preferred_dapi
        Name of the nuclear channel, which the model then normalises as DAPI.
    """

    def __init__(
        self,
        card: ModelCard,
        model: nn.Module,
        weights: Weights,
        vocabulary: Sequence[MarkerEntry] = (),
        *,
        preferred_dapi: str | None = None,
    ) -> None:
        super().__init__()
        self.card, self.weights, self.vocabulary = card, weights, tuple(vocabulary)
        self.options = {"preferred_dapi": preferred_dapi}
        self.model = model
        self._reported: set[str] = set()

    def unknown(self, markers: Sequence[str]) -> list[str]:
        """Markers outside the model's vocabulary, in order; it compares names without separators and case."""
        known = {marker_key(entry.name) for entry in self.vocabulary} | {marker_key(self._dapi or "")}
        return [name for name in markers if marker_key(name) not in known] if self.vocabulary else []

    def forward(  # type: ignore[override]  # the model takes names, not ids
        self,
        pixels: Tensor,
        markers: Sequence[str] | None = None,
        *,
        mask: Tensor | None = None,
        outputs: Sequence[str] | None = None,
    ) -> EncoderOutput:
        """Encode windows.

        Parameters
        ----------
        pixels
            ``(B, M, H, W)``, from 0 to 1.
        markers
            Names of the markers, M of them.
        mask
            Not used.
        outputs
            Outputs that are needed; there is but one.

        Returns
        -------
        `patch` ``(B, 768)``, the CLS token.

        Raises
        ------
        ModelError
            If names and channels do not match, pixels are not from 0 to 1, `preferred_dapi` is not among the markers,
            the model's code refuses them, or there is no such output.

        Warns
        -----
        SpatialfmWarning
            Once, naming the markers that the model does not have.
        """
        self.wanted(outputs)
        names = self._names(markers, pixels)
        low, high = (float(value) for value in pixels.aminmax()) if pixels.numel() else (0.0, 0.0)
        if not (-1e-3 <= low and high <= 1 + 1e-3):
            raise ModelError(
                f"Model {self.card.name!r} takes pixels from 0 to 1, got {low:g} to {high:g}. Divide them by the "
                "largest value that a pixel can have (intensity_max=)."
            )
        self._report(names)
        if not len(pixels):
            return EncoderOutput(patch=pixels.new_zeros(0, self.card.embedding_dim or 0))
        array = np.ascontiguousarray(pixels.detach().float().cpu().numpy())
        try:
            own_code: Any = self.model
            prepared = own_code.preprocess(array, names, preferred_dapi=self._dapi)
            prepared = torch.as_tensor(np.asarray(prepared), dtype=torch.float32, device=self.device)
            patch = self._patch(prepared, names)
        except (KeyError, ValueError, RuntimeError) as error:
            unknown = self.unknown(names)
            remedy = f" Leave out {', '.join(unknown)}, which it does not know." if unknown else ""
            raise ModelError(
                f"The code of model {self.card.name!r} refused markers {names}: {error}.{remedy}"
            ) from error
        if not isinstance(patch, Tensor) or patch.shape != (len(pixels), self.card.embedding_dim):
            got = tuple(patch.shape) if isinstance(patch, Tensor) else type(patch).__name__
            raise ModelError(
                f"The code of model {self.card.name!r} gave {got} instead of ({len(pixels)}, "
                f"{self.card.embedding_dim}). Pass the weights of {self.card.hub}."
            )
        return EncoderOutput(patch=patch.float())

    def _patch(self, prepared: Tensor, names: list[str]) -> Tensor:
        """The CLS token; by the part of the model that gives gradients where these are asked for."""
        own_code: Any = self.model
        if torch.is_grad_enabled() and any(one.requires_grad for one in self.model.parameters()):
            features = own_code.backbone.forward_features(prepared, masks=None, marker_names=names)
            return features["x_norm_clstoken"]
        return own_code(prepared, names)

    @property
    def _dapi(self) -> str | None:
        return self.options["preferred_dapi"]

    def _names(self, markers: Sequence[str] | None, pixels: Tensor) -> list[str]:
        if pixels.ndim != 4:
            raise ModelError(f"Model {self.card.name!r} takes pixels (B, M, H, W), got {tuple(pixels.shape)}.")
        given = isinstance(markers, (list, tuple)) and all(isinstance(name, str) for name in markers)
        if markers is None or not given or len(markers) != pixels.shape[1]:
            got = f"{len(markers)} names" if markers is not None and given else type(markers).__name__
            raise ModelError(
                f"Model {self.card.name!r} needs a list of marker names, one for each of {pixels.shape[1]} channels, "
                f"got {got}. Pass markers=[...]."
            )
        if self._dapi is not None and self._dapi not in markers:
            raise ModelError(
                f"Model {self.card.name!r}: preferred_dapi={self._dapi!r} is not among the markers {list(markers)}. "
                "Pass the name of one of them."
            )
        return list(markers)

    def _report(self, names: Sequence[str]) -> None:
        new = [name for name in self.unknown(names) if name not in self._reported]
        if new:
            self._reported.update(new)
            warn(
                f"{self.card.name} does not know {len(new)} of {counted(len(names), 'marker')}: {', '.join(new)}. It "
                "has no statistics of them; leave them out, or register them with the model's own code "
                "(encoder.model)."
            )


@register(KRONOS2)
def build_kronos2(
    card: ModelCard,
    weights: str | os.PathLike | None,
    *,
    trust_remote_code: bool = False,
    preferred_dapi: str | None = None,
) -> Kronos2Encoder:
    """Build KRONOS2 with the code in its repository.

    Parameters
    ----------
    card
        As `load` passes it.
    weights
        Folder that holds the whole repository, a hub repository (``"org/repo"`` or ``"hf://org/repo@revision"``), or
        None for the published one.
    trust_remote_code
        Run the code in that repository. Nothing is downloaded or run without it.
    preferred_dapi
        See `Kronos2Encoder`.

    Raises
    ------
    ModelError
        If `trust_remote_code` is not True, `transformers` is not installed, or the code does not have the interface.
    WeightsError
        If the repository is nowhere.
    """
    ask_for_consent(card, trust_remote_code)
    if weights == hub.RANDOM:
        raise ModelError(f"Model {card.name!r} has no random weights: its layers are in the code of its repository.")
    folder, source = repository(card, weights, ignore=["demo_image/*"])
    model = model_in(folder, card, ["preprocess"], "preprocess(pixels, marker_names, preferred_dapi=...)")
    return Kronos2Encoder(
        card, model, Weights(source, checksum_of(folder)), _vocabulary(folder), preferred_dapi=preferred_dapi
    )


def marker_key(name: str) -> str:
    """What KRONOS2 compares of a marker's name: letters and digits, in lower case.

    Examples
    --------
    >>> marker_key("HLA-DR") == marker_key("hla_dr")
    True
    """
    return re.sub(r"[\W_]+", "", name).casefold()


def _vocabulary(folder: Path) -> tuple[MarkerEntry, ...]:
    """Markers of the table in the repository; none, with a note, if there is no such table."""
    path = folder / METADATA_FILE
    if path.is_file():
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            if "marker_name" in (reader.fieldnames or ()):
                names = dict.fromkeys(name for row in reader if (name := (row["marker_name"] or "").strip()))
                return tuple(MarkerEntry(name, i, 0.0, 1.0) for i, name in enumerate(names))
    logger.info("kronos2: no %s with a column marker_name, so unknown markers cannot be recognised", METADATA_FILE)
    return ()
