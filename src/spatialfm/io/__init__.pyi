# Made by `make stubs` from the signatures: change those.
from .cellprofiler import read_cellprofiler as read_cellprofiler
from .cells import read_cells as read_cells
from .cohort import read_cohort as read_cohort
from .features_h5 import read_features_h5 as read_features_h5
from .geojson import read_geojson as read_geojson
from .inform import read_inform as read_inform
from .mcd import read_mcd as read_mcd
from .mcmicro import read_mcmicro as read_mcmicro
from .ome_zarr import read_ome_zarr as read_ome_zarr
from .qupath import read_qupath as read_qupath
from .spora import read_spora as read_spora
from .steinbock import read_steinbock as read_steinbock
from .tiff import read_tiff as read_tiff
from ._names import sample_name as sample_name
from ._write import write as write
from .cell_labels import write_cell_labels as write_cell_labels
from .features_h5 import write_features_h5 as write_features_h5

__all__ = [
    "read_cellprofiler",
    "read_cells",
    "read_cohort",
    "read_features_h5",
    "read_geojson",
    "read_inform",
    "read_mcd",
    "read_mcmicro",
    "read_ome_zarr",
    "read_qupath",
    "read_spora",
    "read_steinbock",
    "read_tiff",
    "sample_name",
    "write",
    "write_cell_labels",
    "write_features_h5",
]
