# Made by `make stubs` from the signatures: change those.
from .cell_labels import add_cell_labels as add_cell_labels
from .clinical import add_clinical as add_clinical
from .samples import add_samples as add_samples
from .channels import channel_quality as channel_quality
from .labels import check_labels as check_labels
from .fixed_labels import fix_labels as fix_labels
from .statistics import marker_statistics as marker_statistics
from .panel import marker_table as marker_table
from .panel import match_markers as match_markers
from .segmentation import segment_cells as segment_cells
from .segment_quality import segmentation_quality as segmentation_quality
from .outcome import set_outcome as set_outcome
from anndata import AnnData
from collections.abc import Mapping
from collections.abc import Sequence
import numpy as np
import pandas as pd
from spatialdata import SpatialData
from typing import Literal
from typing import overload
from xarray import DataArray
from .batches import Method
from .labels import OnPieces

__all__ = [
    "add_cell_labels",
    "add_clinical",
    "add_samples",
    "cell_table",
    "channel_quality",
    "check_labels",
    "fix_labels",
    "marker_statistics",
    "marker_table",
    "match_markers",
    "segment_cells",
    "segmentation_quality",
    "set_outcome",
    "standardize",
    "tissue",
]

@overload
def standardize(
    adata: AnnData, *, use_rep: str | None = None, layer: str | None = None, batch_key: str | None = None,
    method: Method = 'zscore', covariates: str | Sequence[str] | None = None, random_state: int = 0,
    key_added: str | None = None, copy: Literal[False] = False
) -> None: ...
@overload
def standardize(
    adata: AnnData, *, use_rep: str | None = None, layer: str | None = None, batch_key: str | None = None,
    method: Method = 'zscore', covariates: str | Sequence[str] | None = None, random_state: int = 0,
    key_added: str | None = None, copy: Literal[True]
) -> np.ndarray: ...
@overload
def standardize(
    adata: AnnData, *, use_rep: str | None = None, layer: str | None = None, batch_key: str | None = None,
    method: Method = 'zscore', covariates: str | Sequence[str] | None = None, random_state: int = 0,
    key_added: str | None = None, copy: bool
) -> np.ndarray | None: ...

@overload
def cell_table(
    sdata: SpatialData, *, image: str | Sequence[str] | Mapping[str, str] | None = None,
    labels: str | Sequence[str] | Mapping[str, str] | None = None, samples: str | Sequence[str] | None = None,
    quantiles: float | Sequence[float] | None = None, morphology: bool = True,
    cells: pd.DataFrame | AnnData | None = None, library_key: str | None = 'sample', instance_key: str = 'cell_id',
    on_pieces: OnPieces = 'raise', on_giants: Literal['raise', 'keep'] = 'raise',
    on_missing: Literal['raise', 'drop'] = 'raise', intensity_max: float | Mapping[str, float] | None = None,
    table_name: str = 'table', overwrite: bool = False, copy: Literal[False] = False
) -> None: ...
@overload
def cell_table(
    sdata: SpatialData, *, image: str | Sequence[str] | Mapping[str, str] | None = None,
    labels: str | Sequence[str] | Mapping[str, str] | None = None, samples: str | Sequence[str] | None = None,
    quantiles: float | Sequence[float] | None = None, morphology: bool = True,
    cells: pd.DataFrame | AnnData | None = None, library_key: str | None = 'sample', instance_key: str = 'cell_id',
    on_pieces: OnPieces = 'raise', on_giants: Literal['raise', 'keep'] = 'raise',
    on_missing: Literal['raise', 'drop'] = 'raise', intensity_max: float | Mapping[str, float] | None = None,
    table_name: str = 'table', overwrite: bool = False, copy: Literal[True]
) -> AnnData: ...
@overload
def cell_table(
    sdata: SpatialData, *, image: str | Sequence[str] | Mapping[str, str] | None = None,
    labels: str | Sequence[str] | Mapping[str, str] | None = None, samples: str | Sequence[str] | None = None,
    quantiles: float | Sequence[float] | None = None, morphology: bool = True,
    cells: pd.DataFrame | AnnData | None = None, library_key: str | None = 'sample', instance_key: str = 'cell_id',
    on_pieces: OnPieces = 'raise', on_giants: Literal['raise', 'keep'] = 'raise',
    on_missing: Literal['raise', 'drop'] = 'raise', intensity_max: float | Mapping[str, float] | None = None,
    table_name: str = 'table', overwrite: bool = False, copy: bool
) -> AnnData | None: ...

@overload
def tissue(
    sdata: SpatialData, method: Literal['auto', 'otsu', 'all'] = 'auto', *,
    image: str | Sequence[str] | Mapping[str, str] | None = None, samples: str | Sequence[str] | None = None,
    channels: Sequence[str] | None = None, resolution: float | None = None, smoothing: float | None = None,
    min_area: float | None = None, max_hole: float | None = None, overwrite: bool = False,
    copy: Literal[False] = False
) -> None: ...
@overload
def tissue(
    sdata: SpatialData, method: Literal['auto', 'otsu', 'all'] = 'auto', *,
    image: str | Sequence[str] | Mapping[str, str] | None = None, samples: str | Sequence[str] | None = None,
    channels: Sequence[str] | None = None, resolution: float | None = None, smoothing: float | None = None,
    min_area: float | None = None, max_hole: float | None = None, overwrite: bool = False, copy: Literal[True]
) -> dict[str, DataArray]: ...
@overload
def tissue(
    sdata: SpatialData, method: Literal['auto', 'otsu', 'all'] = 'auto', *,
    image: str | Sequence[str] | Mapping[str, str] | None = None, samples: str | Sequence[str] | None = None,
    channels: Sequence[str] | None = None, resolution: float | None = None, smoothing: float | None = None,
    min_area: float | None = None, max_hole: float | None = None, overwrite: bool = False, copy: bool
) -> dict[str, DataArray] | None: ...
