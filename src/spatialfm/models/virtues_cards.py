"""What is published of VirTues: three sets of weights of one network (Wenckstern et al. 2026, arXiv:2501.06039)."""

from __future__ import annotations

from typing import Any

from .card import ModelCard
from .recipe import Recipe
from .virtues_pixels import RELEASED

_COMMON: dict[str, Any] = {
    "family": "virtues",
    "gated": False,
    "reference": "Wenckstern et al. 2026, The Virtual Tissues foundation model resolves spatial proteomics across "
    "scales, Nature, doi:10.1038/s41586-026-10884-y, arXiv:2501.06039",
    "parameters": 42_453_056,
    "embedding_dim": 512,
    "mpp": 1.0,
    "recipe": Recipe(  # Methods, Dataset preprocessing and Aggregation
        mode="tile",
        window=128,
        stride=42,
        padding=120,
        background="keep",
        scaling="raw",  # a logarithm takes pixels as they are
        preparation=RELEASED,
        normalization="marker statistics",
        epsilon=1e-8,  # of the release
    ),
    "patch_size": 8,
    "marker_vocabulary": "protein embedding",
    "outputs": ("patch", "marker", "token", "summary", "attention"),
    "default_output": "summary",
    "hub": "bunnelab/virtues",
}
VIRTUES = ModelCard(
    name="virtues",
    title="VirTues sp31, for any use",
    license="MIT",
    commercial=True,
    domains=("fluorescence", "ion"),
    trained_on="31 spatial proteomics datasets of several technologies, all but one of those of virtues-sp32 "
    "(model table of its repository)",
    weights_file="virtues-sp31/model.safetensors",
    **_COMMON,
)
VIRTUES_SP32 = ModelCard(
    name="virtues-sp32",
    title="VirTues sp32",
    license="CC-BY-NC-4.0",
    commercial=False,
    domains=("fluorescence", "ion"),
    trained_on="32 spatial proteomics datasets of several technologies (model table of its repository)",
    weights_file="virtues-sp32/model.safetensors",
    **_COMMON,
)
VIRTUES_IMC14 = ModelCard(
    name="virtues-imc14",
    title="VirTues imc14, of the preprint",
    license="CC-BY-NC-4.0",
    commercial=False,
    domains=("ion",),
    trained_on="14 imaging mass cytometry datasets of tumours, tonsil, endometrium and pancreas at 1 µm per pixel "
    "(Methods, Datasets for VirTues development)",
    weights_file="virtues-imc14/model.safetensors",
    **_COMMON,
)
