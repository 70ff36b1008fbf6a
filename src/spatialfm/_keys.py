"""Every key that the package writes into a SpatialData or an AnnData, in one place.

Changing a value here breaks stores that users have on disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anndata import AnnData

# elements of a SpatialData: `<prefix><sample>`
IMAGE_PREFIX = "image_"
CELLS_PREFIX = "cells_"
TISSUE_PREFIX = "tissue_"
PANORAMA_PREFIX = "panorama_"  # pictures of a slide, which are not samples: attrs[ATTRS][PANORAMAS] names them
SURPRISE_PREFIX = "surprise_"  # maps of `spatialfm.tl.surprise`, under its usual key
TRUE_CELLS_PREFIX = "true_cells_"  # simulated cohorts only
TRUE_TISSUE_PREFIX = "true_tissue_"  # simulated cohorts only
ARTIFACTS_PREFIX = "artifacts_"  # simulated cohorts only
# maps of classes: `<key>_<sample>`, labels elements; attrs[ATTRS][MAPS][<element>] gives the meaning of a pixel value
REGIONS = "regions"
ARTIFACT_MAP = "artifact_map"

# tables of a SpatialData
TABLE = "table"  # one row per cell
SAMPLES = "samples"  # one row per sample: patient and clinical columns
TILES = "tiles"  # one row per tile
TOKENS = "tokens"  # one row per token of a dense grid; annotates the labels elements `tokens_<sample>`
ARTIFACT_TOKENS = "artifact_tokens"  # the same of the detection of artifacts
TRUTH = "truth"  # simulated cohorts only: one row per true cell

# obs of the cell table
REGION_KEY = "region"
INSTANCE_KEY = "cell_id"
NUMBER_KEY = "cell_number"  # in the label image that shapes are drawn as, where their ids are not label numbers
TILE_KEY = "tile_id"  # the same of the table of tiles
TOKEN_KEY = "token_id"  # the same of a table of tokens
SAMPLE_KEY = "sample"
PATIENT_KEY = "patient"

# obs of the cell table: shape of a cell, named as in skimage.measure.regionprops; lengths in µm, areas in µm²
AREA = "area"
SHAPE_COLUMNS = (
    "perimeter",
    "eccentricity",
    "solidity",
    "axis_major_length",
    "axis_minor_length",
    "orientation",
    "equivalent_diameter_area",
)

# obsm and uns of the cell table
SPATIAL = "spatial"  # centroid (x, y) in µm
UNS = "spatialfm"  # uns["spatialfm"][<key>] holds the record of obsm[<key>]
OUTCOME = "outcome"  # uns["spatialfm"][OUTCOME]: columns of obs with time and event, of any table

# attrs of a SpatialData
ATTRS = "spatialfm"  # what the readers knew: pixel sizes and where they come from
PANORAMAS = "panoramas"  # attrs[ATTRS][PANORAMAS]: images that are not samples
IMPUTED = "imputed"  # attrs[ATTRS][IMPUTED]: records of images that were predicted or painted, which are not samples
MAPS = "maps"  # attrs[ATTRS][MAPS]: names and colours of the pixel values of maps
TISSUE = "tissue"  # attrs[ATTRS][TISSUE]: how `tissue_<sample>` was made, by its name
SEGMENTATION = "segmentation"  # attrs[ATTRS][SEGMENTATION]: how labels were made, by their names
FIXED_LABELS = "fixed_labels"  # attrs[ATTRS][FIXED_LABELS]: labels that replace others, by the names of these
FIXED_FROM = "fixed_from"  # attrs[ATTRS][FIXED_FROM]: what those were made of, and how, by their names
ATTRS_TRUTH = "truth"


def image_name(sample: str) -> str:
    """Name of the image element of a sample."""
    return f"{IMAGE_PREFIX}{sample}"


def panorama_name(picture: str) -> str:
    """Name of the picture of a slide."""
    return f"{PANORAMA_PREFIX}{picture}"


def cells_name(sample: str) -> str:
    """Name of the label element that holds the segmented cells of a sample."""
    return f"{CELLS_PREFIX}{sample}"


def cell_name(sample: str, label: int | str) -> str:
    """``obs_names`` entry of a cell."""
    return f"{sample}_{label}"


def quantile_layer(quantile: float) -> str:
    """Layer of a quantile of each cell's pixels: ``q50`` for the median."""
    return f"q{round(100 * quantile, 6):g}"


def obsm_key(name: str) -> str:
    """``obsm`` key of an embedding: ``X_kronos_large`` for ``kronos-large``."""
    return f"X_{name.replace('-', '_')}"


UNTRAINED = "random (untrained)"  # what a record says of weights that were never trained


def layer_names(table: AnnData) -> list[str]:
    """Names of the layers; anndata 0.13 lists ``X`` among them, as None."""
    return [name for name in table.layers if name is not None]
