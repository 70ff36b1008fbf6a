# Made by `make stubs` from the signatures: change those.
from .retrieval.search import Index as Index
from .retrieval.search import build_index as build_index
from .imputation.calibrate_imputation import calibrate_imputation as calibrate_imputation
from .phenotypes.cluster_agreement import cluster_agreement as cluster_agreement
from .samples.composition import composition as composition
from .regions.detect_artifacts import detect_artifacts as detect_artifacts
from .samples.embed_samples import embed_samples as embed_samples
from .phenotypes.evaluate_annotation import evaluate_annotation as evaluate_annotation
from .imputation.evaluate_reconstruction import evaluate_reconstruction as evaluate_reconstruction
from .imputation.impute_markers import impute_markers as impute_markers
from .phenotypes.label_report import label_report as label_report
from .regions.paint_tiles import paint_tiles as paint_tiles
from .imputation.perturb_markers import perturb_markers as perturb_markers
from .phenotypes.pixie import pixie as pixie
from .embedding.plan_embedding import plan_embedding as plan_embedding
from .imputation.reconstruct import reconstruct as reconstruct
from .signatures.score_signatures import score_signatures as score_signatures
from .retrieval.search import search as search
from .retrieval.search_samples import search_samples as search_samples
from .regions.segment_regions import segment_regions as segment_regions
from .imputation.select_panel import select_panel as select_panel
from .phenotypes.suggest_labels import suggest_labels as suggest_labels
from .imputation.surprise import surprise as surprise
from .regions.tile_labels import tile_labels as tile_labels
from anndata import AnnData
from collections.abc import Mapping
from collections.abc import Sequence
import numpy as np
from os import PathLike
import pandas as pd
from spatialdata import SpatialData
from typing import Any
from typing import Literal
from typing import overload
from ..cohort.case_depth import CasesDepth
from ..cohort.cases import OnMissing as OnMissing_
from ..cohort.cox_table import Distribution
from ..cohort.depth import Depth
from ..cohort.outcome import EventValue
from ..cohort.outcome import OnMissing
from ..cohort.records import AddedValueRecord
from ..cohort.records import AlignedRecord
from ..cohort.records import BagsRecord
from ..cohort.records import ClassifiedRecord
from ..cohort.records import ConcordanceRecord
from ..cohort.records import ConcordancesRecord
from ..cohort.records import CoxRecord
from ..cohort.records import CutPointRecord
from ..cohort.records import ExpressionRecord
from ..cohort.records import FineGrayRecord
from ..cohort.records import IncidenceRecord
from ..cohort.records import KaplanMeierRecord
from ..cohort.records import LogrankRecord
from ..cohort.records import MilRecord
from ..cohort.records import PowerRecord
from ..cohort.records import PredictionRecord
from ..cohort.records import RmstRecord
from ..cohort.records import ShiftRecord
from ..cohort.records import SignaturesRecord
from ..cohort.records import SurvivalModelRecord
from ..cohort.selected import OnSelected
from ..cohort.sketch import Size
from ..embed.call import Elements
from ..embed.call import Panel
from ..embed.call import Reduce
from ..embed.call import Run
from ..embed.planned import EmbeddingPlan
from ..learn.bag_tasks import TaskName
from ..models.context import ContextEncoder
from ..models.encoder import Encoder
from ..models.recipe import Recipe
from ..stats.cox import Ties
from ..stats.logrank import Weights
from .patients.power import Question
from .phenotypes.marker_positivity import Method
from .samples.compare_composition import Method as Method_
from .samples.few_shot_samples import Metric
from .survival.cox import ClusterSE
from .survival.fine_gray import StandardErrors
from .survival.kaplan_meier import Interval
from .survival.logrank import Method as Method__
from .survival.predict_survival import OnShared

__all__ = [
    "Index",
    "added_value",
    "align",
    "annotate",
    "build_index",
    "calibrate_imputation",
    "cell_states",
    "classify_samples",
    "cluster_agreement",
    "compare_composition",
    "compare_concordance",
    "compare_enrichment",
    "composition",
    "concordance",
    "correct_together",
    "cox",
    "coxnet",
    "cumulative_incidence",
    "cut_point",
    "detect_artifacts",
    "discover_signatures",
    "distribution_shift",
    "embed_cells",
    "embed_context",
    "embed_samples",
    "embed_tiles",
    "evaluate_annotation",
    "evaluate_reconstruction",
    "few_shot_samples",
    "fine_gray",
    "impute_markers",
    "kaplan_meier",
    "label_report",
    "leiden_sweep",
    "logrank",
    "marker_attention",
    "marker_positivity",
    "mil",
    "name_clusters",
    "neighborhood_composition",
    "neighborhood_contrast",
    "niches",
    "paint_tiles",
    "perturb_markers",
    "pixie",
    "plan_embedding",
    "power",
    "predict_bags",
    "predict_expression",
    "predict_survival",
    "propose_types",
    "reconstruct",
    "risk_ratio",
    "rmst",
    "score_signatures",
    "search",
    "search_samples",
    "segment_regions",
    "select_panel",
    "stratify",
    "suggest_labels",
    "surprise",
    "survival_forest",
    "tile_labels",
    "tissue_clusters",
    "transfer_labels",
    "transfer_signatures",
]

@overload
def align(
    adata: AnnData, rep_a: str, rep_b: str, *, other: AnnData | None = None, source: AnnData | None = None,
    loss: Literal['clip', 'siglip'] = 'clip', head_a: Literal['linear', 'mlp'] = 'mlp',
    head_b: Literal['linear', 'mlp'] = 'mlp', n_components: int = 128, dropout: float = 0.2, temperature: float = 0.07,
    batch_size: int = 64, learning_rate: float = 0.001, weight_decay: float = 0.01, max_epochs: int = 100,
    patience: int = 5, test_size: float = 0.2, validation_size: float = 0.2, split_key: str | None = None,
    batch_key: str | None = None, n_candidates: int = 64, patient_key: str = 'patient', device: str | None = None,
    random_state: int = 0, key_added: str = 'aligned', copy: Literal[False] = False
) -> None: ...
@overload
def align(
    adata: AnnData, rep_a: str, rep_b: str, *, other: AnnData | None = None, source: AnnData | None = None,
    loss: Literal['clip', 'siglip'] = 'clip', head_a: Literal['linear', 'mlp'] = 'mlp',
    head_b: Literal['linear', 'mlp'] = 'mlp', n_components: int = 128, dropout: float = 0.2, temperature: float = 0.07,
    batch_size: int = 64, learning_rate: float = 0.001, weight_decay: float = 0.01, max_epochs: int = 100,
    patience: int = 5, test_size: float = 0.2, validation_size: float = 0.2, split_key: str | None = None,
    batch_key: str | None = None, n_candidates: int = 64, patient_key: str = 'patient', device: str | None = None,
    random_state: int = 0, key_added: str = 'aligned', copy: Literal[True]
) -> AlignedRecord: ...
@overload
def align(
    adata: AnnData, rep_a: str, rep_b: str, *, other: AnnData | None = None, source: AnnData | None = None,
    loss: Literal['clip', 'siglip'] = 'clip', head_a: Literal['linear', 'mlp'] = 'mlp',
    head_b: Literal['linear', 'mlp'] = 'mlp', n_components: int = 128, dropout: float = 0.2, temperature: float = 0.07,
    batch_size: int = 64, learning_rate: float = 0.001, weight_decay: float = 0.01, max_epochs: int = 100,
    patience: int = 5, test_size: float = 0.2, validation_size: float = 0.2, split_key: str | None = None,
    batch_key: str | None = None, n_candidates: int = 64, patient_key: str = 'patient', device: str | None = None,
    random_state: int = 0, key_added: str = 'aligned', copy: bool
) -> AlignedRecord | None: ...

@overload
def predict_expression(
    adata: AnnData, use_rep: str, targets: str | Sequence[str] | pd.DataFrame, *, layer: str | None = None,
    log1p: bool = False, protocol: Literal['hest', 'hest-paper'] = 'hest', head: Literal['ridge', 'forest'] = 'ridge',
    pca: int | Literal['protocol'] | None = 'protocol',
    alpha: float | Literal['protocol', 'published', 'cv'] = 'protocol', n_trees: int = 70, n_folds: int | None = None,
    patient_key: str = 'patient', n_jobs: int = 1, random_state: int = 0, key_added: str = 'predicted_expression',
    copy: Literal[False] = False
) -> None: ...
@overload
def predict_expression(
    adata: AnnData, use_rep: str, targets: str | Sequence[str] | pd.DataFrame, *, layer: str | None = None,
    log1p: bool = False, protocol: Literal['hest', 'hest-paper'] = 'hest', head: Literal['ridge', 'forest'] = 'ridge',
    pca: int | Literal['protocol'] | None = 'protocol',
    alpha: float | Literal['protocol', 'published', 'cv'] = 'protocol', n_trees: int = 70, n_folds: int | None = None,
    patient_key: str = 'patient', n_jobs: int = 1, random_state: int = 0, key_added: str = 'predicted_expression',
    copy: Literal[True]
) -> ExpressionRecord: ...
@overload
def predict_expression(
    adata: AnnData, use_rep: str, targets: str | Sequence[str] | pd.DataFrame, *, layer: str | None = None,
    log1p: bool = False, protocol: Literal['hest', 'hest-paper'] = 'hest', head: Literal['ridge', 'forest'] = 'ridge',
    pca: int | Literal['protocol'] | None = 'protocol',
    alpha: float | Literal['protocol', 'published', 'cv'] = 'protocol', n_trees: int = 70, n_folds: int | None = None,
    patient_key: str = 'patient', n_jobs: int = 1, random_state: int = 0, key_added: str = 'predicted_expression',
    copy: bool
) -> ExpressionRecord | None: ...

@overload
def embed_context(
    adata: AnnData, *, use_rep: str, model: str | ContextEncoder = 'stofm', weights: str | PathLike | None = None,
    library_key: str | None = 'sample', spatial_key: str = 'spatial', slicing: Mapping[str, Any] | None = None,
    device: str | None = None, random_state: int = 0, key_added: str = 'X_context', copy: Literal[False] = False
) -> None: ...
@overload
def embed_context(
    adata: AnnData, *, use_rep: str, model: str | ContextEncoder = 'stofm', weights: str | PathLike | None = None,
    library_key: str | None = 'sample', spatial_key: str = 'spatial', slicing: Mapping[str, Any] | None = None,
    device: str | None = None, random_state: int = 0, key_added: str = 'X_context', copy: Literal[True]
) -> np.ndarray: ...
@overload
def embed_context(
    adata: AnnData, *, use_rep: str, model: str | ContextEncoder = 'stofm', weights: str | PathLike | None = None,
    library_key: str | None = 'sample', spatial_key: str = 'spatial', slicing: Mapping[str, Any] | None = None,
    device: str | None = None, random_state: int = 0, key_added: str = 'X_context', copy: bool
) -> np.ndarray | None: ...

@overload
def embed_cells(
    sdata: SpatialData, model: str | Encoder = 'classical', *, weights: str | PathLike | None = None,
    adapter: str | PathLike | None = None, markers: Sequence[str] | None = None, samples: Sequence[str] | None = None,
    outputs: str | Sequence[str] | None = None, panel: Panel | Mapping[str, Any] | None = None,
    recipe: Recipe | Mapping[str, Any] | None = None, reduce: Reduce | Mapping[str, Any] | None = None,
    run: Run | Mapping[str, Any] | None = None, elements: Elements | Mapping[str, Any] | None = None,
    table_name: str = 'table', on_missing: Literal['raise', 'drop'] = 'raise', plan: EmbeddingPlan | None = None,
    key_added: str | None = None, copy: Literal[False] = False
) -> None: ...
@overload
def embed_cells(
    sdata: SpatialData, model: str | Encoder = 'classical', *, weights: str | PathLike | None = None,
    adapter: str | PathLike | None = None, markers: Sequence[str] | None = None, samples: Sequence[str] | None = None,
    outputs: str | Sequence[str] | None = None, panel: Panel | Mapping[str, Any] | None = None,
    recipe: Recipe | Mapping[str, Any] | None = None, reduce: Reduce | Mapping[str, Any] | None = None,
    run: Run | Mapping[str, Any] | None = None, elements: Elements | Mapping[str, Any] | None = None,
    table_name: str = 'table', on_missing: Literal['raise', 'drop'] = 'raise', plan: EmbeddingPlan | None = None,
    key_added: str | None = None, copy: Literal[True]
) -> AnnData: ...
@overload
def embed_cells(
    sdata: SpatialData, model: str | Encoder = 'classical', *, weights: str | PathLike | None = None,
    adapter: str | PathLike | None = None, markers: Sequence[str] | None = None, samples: Sequence[str] | None = None,
    outputs: str | Sequence[str] | None = None, panel: Panel | Mapping[str, Any] | None = None,
    recipe: Recipe | Mapping[str, Any] | None = None, reduce: Reduce | Mapping[str, Any] | None = None,
    run: Run | Mapping[str, Any] | None = None, elements: Elements | Mapping[str, Any] | None = None,
    table_name: str = 'table', on_missing: Literal['raise', 'drop'] = 'raise', plan: EmbeddingPlan | None = None,
    key_added: str | None = None, copy: bool
) -> AnnData | None: ...

@overload
def embed_tiles(
    sdata: SpatialData, model: str | Encoder = 'classical', *, size: int | None = None, stride: int | None = None,
    min_tissue: float = 0.3, weights: str | PathLike | None = None, adapter: str | PathLike | None = None,
    markers: Sequence[str] | None = None, samples: Sequence[str] | None = None,
    outputs: str | Sequence[str] | None = None, panel: Panel | Mapping[str, Any] | None = None,
    recipe: Recipe | Mapping[str, Any] | None = None, reduce: Reduce | Mapping[str, Any] | None = None,
    run: Run | Mapping[str, Any] | None = None, elements: Elements | Mapping[str, Any] | None = None,
    cluster_key: str | None = None, table_name: str = 'tiles', cell_table_name: str = 'table',
    key_added: str | None = None, copy: Literal[False] = False
) -> None: ...
@overload
def embed_tiles(
    sdata: SpatialData, model: str | Encoder = 'classical', *, size: int | None = None, stride: int | None = None,
    min_tissue: float = 0.3, weights: str | PathLike | None = None, adapter: str | PathLike | None = None,
    markers: Sequence[str] | None = None, samples: Sequence[str] | None = None,
    outputs: str | Sequence[str] | None = None, panel: Panel | Mapping[str, Any] | None = None,
    recipe: Recipe | Mapping[str, Any] | None = None, reduce: Reduce | Mapping[str, Any] | None = None,
    run: Run | Mapping[str, Any] | None = None, elements: Elements | Mapping[str, Any] | None = None,
    cluster_key: str | None = None, table_name: str = 'tiles', cell_table_name: str = 'table',
    key_added: str | None = None, copy: Literal[True]
) -> AnnData: ...
@overload
def embed_tiles(
    sdata: SpatialData, model: str | Encoder = 'classical', *, size: int | None = None, stride: int | None = None,
    min_tissue: float = 0.3, weights: str | PathLike | None = None, adapter: str | PathLike | None = None,
    markers: Sequence[str] | None = None, samples: Sequence[str] | None = None,
    outputs: str | Sequence[str] | None = None, panel: Panel | Mapping[str, Any] | None = None,
    recipe: Recipe | Mapping[str, Any] | None = None, reduce: Reduce | Mapping[str, Any] | None = None,
    run: Run | Mapping[str, Any] | None = None, elements: Elements | Mapping[str, Any] | None = None,
    cluster_key: str | None = None, table_name: str = 'tiles', cell_table_name: str = 'table',
    key_added: str | None = None, copy: bool
) -> AnnData | None: ...

@overload
def marker_attention(
    adata: AnnData, use_rep: str, cluster_key: str, *, head: int | Literal['auto', 'all'] = 'auto',
    max_cells: int | None = 1000, random_state: int = 0, key_added: str = 'marker_attention',
    copy: Literal[False] = False
) -> None: ...
@overload
def marker_attention(
    adata: AnnData, use_rep: str, cluster_key: str, *, head: int | Literal['auto', 'all'] = 'auto',
    max_cells: int | None = 1000, random_state: int = 0, key_added: str = 'marker_attention', copy: Literal[True]
) -> pd.DataFrame: ...
@overload
def marker_attention(
    adata: AnnData, use_rep: str, cluster_key: str, *, head: int | Literal['auto', 'all'] = 'auto',
    max_cells: int | None = 1000, random_state: int = 0, key_added: str = 'marker_attention', copy: bool
) -> pd.DataFrame | None: ...

@overload
def compare_enrichment(
    adata: AnnData, cluster_key: str, group_key: str, *, within: str | None = None,
    covariates: str | Sequence[str] | None = None, block_key: str | None = None, pair_key: str | None = None,
    n_neighbors: int | None = None, radius: float | None = None, library_key: str = 'sample',
    patient_key: str = 'patient', spatial_key: str = 'spatial', min_expected: float = 5.0, alpha: float = 0.05,
    on_missing: Literal['raise', 'drop'] = 'raise', key_added: str = 'compare_enrichment',
    copy: Literal[False] = False
) -> None: ...
@overload
def compare_enrichment(
    adata: AnnData, cluster_key: str, group_key: str, *, within: str | None = None,
    covariates: str | Sequence[str] | None = None, block_key: str | None = None, pair_key: str | None = None,
    n_neighbors: int | None = None, radius: float | None = None, library_key: str = 'sample',
    patient_key: str = 'patient', spatial_key: str = 'spatial', min_expected: float = 5.0, alpha: float = 0.05,
    on_missing: Literal['raise', 'drop'] = 'raise', key_added: str = 'compare_enrichment', copy: Literal[True]
) -> pd.DataFrame: ...
@overload
def compare_enrichment(
    adata: AnnData, cluster_key: str, group_key: str, *, within: str | None = None,
    covariates: str | Sequence[str] | None = None, block_key: str | None = None, pair_key: str | None = None,
    n_neighbors: int | None = None, radius: float | None = None, library_key: str = 'sample',
    patient_key: str = 'patient', spatial_key: str = 'spatial', min_expected: float = 5.0, alpha: float = 0.05,
    on_missing: Literal['raise', 'drop'] = 'raise', key_added: str = 'compare_enrichment', copy: bool
) -> pd.DataFrame | None: ...

@overload
def neighborhood_composition(
    adata: AnnData, cluster_key: str, *, library_key: str | None = 'sample', radius: float | None = None,
    n_neighbors: int | None = None, include_self: bool = False, spatial_key: str = 'spatial',
    key_added: str = 'neighborhood_composition', copy: Literal[False] = False
) -> None: ...
@overload
def neighborhood_composition(
    adata: AnnData, cluster_key: str, *, library_key: str | None = 'sample', radius: float | None = None,
    n_neighbors: int | None = None, include_self: bool = False, spatial_key: str = 'spatial',
    key_added: str = 'neighborhood_composition', copy: Literal[True]
) -> pd.DataFrame: ...
@overload
def neighborhood_composition(
    adata: AnnData, cluster_key: str, *, library_key: str | None = 'sample', radius: float | None = None,
    n_neighbors: int | None = None, include_self: bool = False, spatial_key: str = 'spatial',
    key_added: str = 'neighborhood_composition', copy: bool
) -> pd.DataFrame | None: ...

@overload
def neighborhood_contrast(
    adata: AnnData, cluster_key: str, *, cell_type: str, within: str, inside: str | None = None,
    covariates: str | Sequence[str] | None = None, n_neighbors: int = 10, library_key: str = 'sample',
    patient_key: str | None = 'patient', spatial_key: str = 'spatial', alpha: float = 0.05,
    key_added: str = 'neighborhood_contrast', copy: Literal[False] = False
) -> None: ...
@overload
def neighborhood_contrast(
    adata: AnnData, cluster_key: str, *, cell_type: str, within: str, inside: str | None = None,
    covariates: str | Sequence[str] | None = None, n_neighbors: int = 10, library_key: str = 'sample',
    patient_key: str | None = 'patient', spatial_key: str = 'spatial', alpha: float = 0.05,
    key_added: str = 'neighborhood_contrast', copy: Literal[True]
) -> pd.DataFrame: ...
@overload
def neighborhood_contrast(
    adata: AnnData, cluster_key: str, *, cell_type: str, within: str, inside: str | None = None,
    covariates: str | Sequence[str] | None = None, n_neighbors: int = 10, library_key: str = 'sample',
    patient_key: str | None = 'patient', spatial_key: str = 'spatial', alpha: float = 0.05,
    key_added: str = 'neighborhood_contrast', copy: bool
) -> pd.DataFrame | None: ...

@overload
def niches(
    adata: AnnData, n_niches: int = 10, *, use_rep: str = 'neighborhood_composition',
    patient_key: str | None = 'patient', random_state: int = 0, key_added: str = 'niche', copy: Literal[False] = False
) -> None: ...
@overload
def niches(
    adata: AnnData, n_niches: int = 10, *, use_rep: str = 'neighborhood_composition',
    patient_key: str | None = 'patient', random_state: int = 0, key_added: str = 'niche', copy: Literal[True]
) -> pd.Series: ...
@overload
def niches(
    adata: AnnData, n_niches: int = 10, *, use_rep: str = 'neighborhood_composition',
    patient_key: str | None = 'patient', random_state: int = 0, key_added: str = 'niche', copy: bool
) -> pd.Series | None: ...

@overload
def correct_together(
    results: Mapping[str, AnnData | pd.DataFrame], *, key: str = 'compare_composition', p_column: str = 'p_value',
    method: Literal['fdr_bh', 'fdr_by', 'holm'] = 'fdr_bh', alpha: float = 0.05, copy: Literal[False] = False
) -> None: ...
@overload
def correct_together(
    results: Mapping[str, AnnData | pd.DataFrame], *, key: str = 'compare_composition', p_column: str = 'p_value',
    method: Literal['fdr_bh', 'fdr_by', 'holm'] = 'fdr_bh', alpha: float = 0.05, copy: Literal[True]
) -> pd.DataFrame: ...
@overload
def correct_together(
    results: Mapping[str, AnnData | pd.DataFrame], *, key: str = 'compare_composition', p_column: str = 'p_value',
    method: Literal['fdr_bh', 'fdr_by', 'holm'] = 'fdr_bh', alpha: float = 0.05, copy: bool
) -> pd.DataFrame | None: ...

@overload
def power(
    patients: AnnData, question: Question, effect: float, *, cell_type: str | None = None,
    group_key: str | None = None, n_patients: Sequence[int] = (10, 20, 30, 40, 60, 80, 120),
    n_cells: int | Sequence[int] | None = None, share: float | None = None, target_power: float = 0.8,
    alpha: float = 0.05, n_tests: int = 1, n_simulations: int = 300, time_key: str | None = None,
    event_key: str | None = None, event_value: EventValue = None, patient_key: str | None = 'patient',
    on_missing: OnMissing = 'raise', random_state: int = 0, key_added: str = 'power', copy: Literal[False] = False
) -> None: ...
@overload
def power(
    patients: AnnData, question: Question, effect: float, *, cell_type: str | None = None,
    group_key: str | None = None, n_patients: Sequence[int] = (10, 20, 30, 40, 60, 80, 120),
    n_cells: int | Sequence[int] | None = None, share: float | None = None, target_power: float = 0.8,
    alpha: float = 0.05, n_tests: int = 1, n_simulations: int = 300, time_key: str | None = None,
    event_key: str | None = None, event_value: EventValue = None, patient_key: str | None = 'patient',
    on_missing: OnMissing = 'raise', random_state: int = 0, key_added: str = 'power', copy: Literal[True]
) -> PowerRecord: ...
@overload
def power(
    patients: AnnData, question: Question, effect: float, *, cell_type: str | None = None,
    group_key: str | None = None, n_patients: Sequence[int] = (10, 20, 30, 40, 60, 80, 120),
    n_cells: int | Sequence[int] | None = None, share: float | None = None, target_power: float = 0.8,
    alpha: float = 0.05, n_tests: int = 1, n_simulations: int = 300, time_key: str | None = None,
    event_key: str | None = None, event_value: EventValue = None, patient_key: str | None = 'patient',
    on_missing: OnMissing = 'raise', random_state: int = 0, key_added: str = 'power', copy: bool
) -> PowerRecord | None: ...

@overload
def risk_ratio(
    patients: AnnData, group_key: str, features: str | Sequence[str], *, group: str | None = None,
    given: Literal['group', 'structure'] = 'group', threshold: float = 0.0,
    covariates: str | Sequence[str] | None = None, block_key: str | None = None, alpha: float = 0.05,
    patient_key: str | None = 'patient', on_missing: OnMissing = 'raise', on_selected: OnSelected = 'raise',
    key_added: str = 'risk_ratio', copy: Literal[False] = False
) -> None: ...
@overload
def risk_ratio(
    patients: AnnData, group_key: str, features: str | Sequence[str], *, group: str | None = None,
    given: Literal['group', 'structure'] = 'group', threshold: float = 0.0,
    covariates: str | Sequence[str] | None = None, block_key: str | None = None, alpha: float = 0.05,
    patient_key: str | None = 'patient', on_missing: OnMissing = 'raise', on_selected: OnSelected = 'raise',
    key_added: str = 'risk_ratio', copy: Literal[True]
) -> pd.DataFrame: ...
@overload
def risk_ratio(
    patients: AnnData, group_key: str, features: str | Sequence[str], *, group: str | None = None,
    given: Literal['group', 'structure'] = 'group', threshold: float = 0.0,
    covariates: str | Sequence[str] | None = None, block_key: str | None = None, alpha: float = 0.05,
    patient_key: str | None = 'patient', on_missing: OnMissing = 'raise', on_selected: OnSelected = 'raise',
    key_added: str = 'risk_ratio', copy: bool
) -> pd.DataFrame | None: ...

@overload
def stratify(
    patients: AnnData, n_groups: int = 2, *, layer: str | None = None, merge_into: int | None = None,
    cross_fit: int | None = None, time_key: str | None = None, event_key: str | None = None,
    event_value: EventValue = None, use_outcome: bool = True, entry_key: str | None = None, n_permutations: int = 0,
    covariates: str | Sequence[str] | None = None, block_key: str | None = None, random_state: int = 0,
    patient_key: str | None = 'patient', on_missing: OnMissing = 'raise', on_selected: OnSelected = 'raise',
    key_added: str = 'risk_group', copy: Literal[False] = False
) -> None: ...
@overload
def stratify(
    patients: AnnData, n_groups: int = 2, *, layer: str | None = None, merge_into: int | None = None,
    cross_fit: int | None = None, time_key: str | None = None, event_key: str | None = None,
    event_value: EventValue = None, use_outcome: bool = True, entry_key: str | None = None, n_permutations: int = 0,
    covariates: str | Sequence[str] | None = None, block_key: str | None = None, random_state: int = 0,
    patient_key: str | None = 'patient', on_missing: OnMissing = 'raise', on_selected: OnSelected = 'raise',
    key_added: str = 'risk_group', copy: Literal[True]
) -> pd.Series: ...
@overload
def stratify(
    patients: AnnData, n_groups: int = 2, *, layer: str | None = None, merge_into: int | None = None,
    cross_fit: int | None = None, time_key: str | None = None, event_key: str | None = None,
    event_value: EventValue = None, use_outcome: bool = True, entry_key: str | None = None, n_permutations: int = 0,
    covariates: str | Sequence[str] | None = None, block_key: str | None = None, random_state: int = 0,
    patient_key: str | None = 'patient', on_missing: OnMissing = 'raise', on_selected: OnSelected = 'raise',
    key_added: str = 'risk_group', copy: bool
) -> pd.Series | None: ...

@overload
def annotate(
    adata: AnnData, label_key: str | None = None, *, use_rep: str | Sequence[str],
    combine: Literal['concatenate', 'stack'] = 'concatenate',
    method: Literal['linear', 'forest', 'knn', 'lda', 'nearest_mean', 'spreading', 'self_training', 'trees', 'bcos', 'ensemble', 'auto'] = 'ensemble',
    signatures: Mapping[str, Any] | pd.DataFrame | None = None, layer: str | None = None,
    smoothing: float | Literal['auto'] | None = None, C: float | Literal['grid', 'search'] = 'grid',
    n_trials: int = 25, calibrate: bool = True, arcsinh: bool = True, by_sample: bool | Literal['auto'] = 'auto',
    min_probability: float = 0.0, coverage: float | None = None, coverage_of: Literal['types', 'cells'] = 'types',
    patient_key: str | None = 'patient', library_key: str | None = 'sample', spatial_key: str = 'spatial',
    random_state: int = 0, key_added: str | None = None, copy: Literal[False] = False
) -> None: ...
@overload
def annotate(
    adata: AnnData, label_key: str | None = None, *, use_rep: str | Sequence[str],
    combine: Literal['concatenate', 'stack'] = 'concatenate',
    method: Literal['linear', 'forest', 'knn', 'lda', 'nearest_mean', 'spreading', 'self_training', 'trees', 'bcos', 'ensemble', 'auto'] = 'ensemble',
    signatures: Mapping[str, Any] | pd.DataFrame | None = None, layer: str | None = None,
    smoothing: float | Literal['auto'] | None = None, C: float | Literal['grid', 'search'] = 'grid',
    n_trials: int = 25, calibrate: bool = True, arcsinh: bool = True, by_sample: bool | Literal['auto'] = 'auto',
    min_probability: float = 0.0, coverage: float | None = None, coverage_of: Literal['types', 'cells'] = 'types',
    patient_key: str | None = 'patient', library_key: str | None = 'sample', spatial_key: str = 'spatial',
    random_state: int = 0, key_added: str | None = None, copy: Literal[True]
) -> pd.DataFrame: ...
@overload
def annotate(
    adata: AnnData, label_key: str | None = None, *, use_rep: str | Sequence[str],
    combine: Literal['concatenate', 'stack'] = 'concatenate',
    method: Literal['linear', 'forest', 'knn', 'lda', 'nearest_mean', 'spreading', 'self_training', 'trees', 'bcos', 'ensemble', 'auto'] = 'ensemble',
    signatures: Mapping[str, Any] | pd.DataFrame | None = None, layer: str | None = None,
    smoothing: float | Literal['auto'] | None = None, C: float | Literal['grid', 'search'] = 'grid',
    n_trials: int = 25, calibrate: bool = True, arcsinh: bool = True, by_sample: bool | Literal['auto'] = 'auto',
    min_probability: float = 0.0, coverage: float | None = None, coverage_of: Literal['types', 'cells'] = 'types',
    patient_key: str | None = 'patient', library_key: str | None = 'sample', spatial_key: str = 'spatial',
    random_state: int = 0, key_added: str | None = None, copy: bool
) -> pd.DataFrame | None: ...

@overload
def cell_states(
    adata: AnnData, n_states: int = 120, *, use_rep: str, source: AnnData | None = None,
    standardize: bool | None = None, patient_key: str | None = 'patient', random_state: int = 0,
    key_added: str = 'state', copy: Literal[False] = False
) -> None: ...
@overload
def cell_states(
    adata: AnnData, n_states: int = 120, *, use_rep: str, source: AnnData | None = None,
    standardize: bool | None = None, patient_key: str | None = 'patient', random_state: int = 0,
    key_added: str = 'state', copy: Literal[True]
) -> pd.Series: ...
@overload
def cell_states(
    adata: AnnData, n_states: int = 120, *, use_rep: str, source: AnnData | None = None,
    standardize: bool | None = None, patient_key: str | None = 'patient', random_state: int = 0,
    key_added: str = 'state', copy: bool
) -> pd.Series | None: ...

@overload
def leiden_sweep(
    adata: AnnData, *, use_rep: str | None = None,
    resolutions: Sequence[float] | Literal['profile'] = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0),
    n_neighbors: int = 15, neighbors_key: str | None = None, n_subsamples: int = 5, share: float = 0.8,
    sketch: int | Literal['auto'] | None = 'auto', n_jobs: int = 1, random_state: int = 0,
    key_added: str = 'leiden_sweep', copy: Literal[False] = False
) -> None: ...
@overload
def leiden_sweep(
    adata: AnnData, *, use_rep: str | None = None,
    resolutions: Sequence[float] | Literal['profile'] = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0),
    n_neighbors: int = 15, neighbors_key: str | None = None, n_subsamples: int = 5, share: float = 0.8,
    sketch: int | Literal['auto'] | None = 'auto', n_jobs: int = 1, random_state: int = 0,
    key_added: str = 'leiden_sweep', copy: Literal[True]
) -> pd.DataFrame: ...
@overload
def leiden_sweep(
    adata: AnnData, *, use_rep: str | None = None,
    resolutions: Sequence[float] | Literal['profile'] = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0),
    n_neighbors: int = 15, neighbors_key: str | None = None, n_subsamples: int = 5, share: float = 0.8,
    sketch: int | Literal['auto'] | None = 'auto', n_jobs: int = 1, random_state: int = 0,
    key_added: str = 'leiden_sweep', copy: bool
) -> pd.DataFrame | None: ...

@overload
def marker_positivity(
    adata: AnnData | SpatialData, *, markers: str | Sequence[str] | None = None, layer: str | None = None,
    method: Method = 'mixture', gates: pd.DataFrame | Mapping[str, float] | None = None,
    library_key: str | None = 'sample', min_cells: int = 100, min_share: float = 0.005,
    compare_with: str | Mapping[str, str] | None = None, weights: str | PathLike | None = None,
    augmentation: Literal['released', 'corrected', 'none'] = 'released', magnification: float | None = None,
    normalizers: Mapping[str, float] | None = None, elements: Elements | Mapping[str, Any] | None = None,
    run: Run | Mapping[str, Any] | None = None, table_name: str = 'table', random_state: int = 0,
    key_added: str = 'positive', copy: Literal[False] = False
) -> None: ...
@overload
def marker_positivity(
    adata: AnnData | SpatialData, *, markers: str | Sequence[str] | None = None, layer: str | None = None,
    method: Method = 'mixture', gates: pd.DataFrame | Mapping[str, float] | None = None,
    library_key: str | None = 'sample', min_cells: int = 100, min_share: float = 0.005,
    compare_with: str | Mapping[str, str] | None = None, weights: str | PathLike | None = None,
    augmentation: Literal['released', 'corrected', 'none'] = 'released', magnification: float | None = None,
    normalizers: Mapping[str, float] | None = None, elements: Elements | Mapping[str, Any] | None = None,
    run: Run | Mapping[str, Any] | None = None, table_name: str = 'table', random_state: int = 0,
    key_added: str = 'positive', copy: Literal[True]
) -> pd.DataFrame: ...
@overload
def marker_positivity(
    adata: AnnData | SpatialData, *, markers: str | Sequence[str] | None = None, layer: str | None = None,
    method: Method = 'mixture', gates: pd.DataFrame | Mapping[str, float] | None = None,
    library_key: str | None = 'sample', min_cells: int = 100, min_share: float = 0.005,
    compare_with: str | Mapping[str, str] | None = None, weights: str | PathLike | None = None,
    augmentation: Literal['released', 'corrected', 'none'] = 'released', magnification: float | None = None,
    normalizers: Mapping[str, float] | None = None, elements: Elements | Mapping[str, Any] | None = None,
    run: Run | Mapping[str, Any] | None = None, table_name: str = 'table', random_state: int = 0,
    key_added: str = 'positive', copy: bool
) -> pd.DataFrame | None: ...

@overload
def name_clusters(
    adata: AnnData, cluster_key: str, signatures: Mapping[str, str | Sequence[str]] | Sequence[str], *,
    layer: str | None = None, batch_key: str | None = None, min_match: float = 0.6, min_strength: float = 0.5,
    other: str = 'Other', key_added: str = 'phenotype', copy: Literal[False] = False
) -> None: ...
@overload
def name_clusters(
    adata: AnnData, cluster_key: str, signatures: Mapping[str, str | Sequence[str]] | Sequence[str], *,
    layer: str | None = None, batch_key: str | None = None, min_match: float = 0.6, min_strength: float = 0.5,
    other: str = 'Other', key_added: str = 'phenotype', copy: Literal[True]
) -> pd.Series: ...
@overload
def name_clusters(
    adata: AnnData, cluster_key: str, signatures: Mapping[str, str | Sequence[str]] | Sequence[str], *,
    layer: str | None = None, batch_key: str | None = None, min_match: float = 0.6, min_strength: float = 0.5,
    other: str = 'Other', key_added: str = 'phenotype', copy: bool
) -> pd.Series | None: ...

@overload
def propose_types(
    adata: AnnData, label_key: str, *, use_rep: str, alpha: float = 0.05, min_share: float = 0.6, min_cells: int = 20,
    resolution: float = 2.0, n_neighbors: int = 15, n_markers: int = 5, by_sample: bool | Literal['auto'] = 'auto',
    patient_key: str | None = 'patient', library_key: str | None = 'sample',
    C: float | Literal['grid', 'search'] = 'grid', sketch: int | Literal['auto'] | None = 'auto',
    random_state: int = 0, key_added: str = 'proposed_types', copy: Literal[False] = False
) -> None: ...
@overload
def propose_types(
    adata: AnnData, label_key: str, *, use_rep: str, alpha: float = 0.05, min_share: float = 0.6, min_cells: int = 20,
    resolution: float = 2.0, n_neighbors: int = 15, n_markers: int = 5, by_sample: bool | Literal['auto'] = 'auto',
    patient_key: str | None = 'patient', library_key: str | None = 'sample',
    C: float | Literal['grid', 'search'] = 'grid', sketch: int | Literal['auto'] | None = 'auto',
    random_state: int = 0, key_added: str = 'proposed_types', copy: Literal[True]
) -> pd.DataFrame: ...
@overload
def propose_types(
    adata: AnnData, label_key: str, *, use_rep: str, alpha: float = 0.05, min_share: float = 0.6, min_cells: int = 20,
    resolution: float = 2.0, n_neighbors: int = 15, n_markers: int = 5, by_sample: bool | Literal['auto'] = 'auto',
    patient_key: str | None = 'patient', library_key: str | None = 'sample',
    C: float | Literal['grid', 'search'] = 'grid', sketch: int | Literal['auto'] | None = 'auto',
    random_state: int = 0, key_added: str = 'proposed_types', copy: bool
) -> pd.DataFrame | None: ...

@overload
def transfer_labels(
    source: AnnData, target: AnnData, label_key: str, *, use_rep: str,
    method: Literal['forest', 'linear', 'knn'] = 'forest', C: float = 1.0, n_per_class: int | None = None,
    n_neighbors: int = 15, patient_key: str | None = 'patient', random_state: int = 0, key_added: str | None = None,
    copy: Literal[False] = False
) -> None: ...
@overload
def transfer_labels(
    source: AnnData, target: AnnData, label_key: str, *, use_rep: str,
    method: Literal['forest', 'linear', 'knn'] = 'forest', C: float = 1.0, n_per_class: int | None = None,
    n_neighbors: int = 15, patient_key: str | None = 'patient', random_state: int = 0, key_added: str | None = None,
    copy: Literal[True]
) -> pd.DataFrame: ...
@overload
def transfer_labels(
    source: AnnData, target: AnnData, label_key: str, *, use_rep: str,
    method: Literal['forest', 'linear', 'knn'] = 'forest', C: float = 1.0, n_per_class: int | None = None,
    n_neighbors: int = 15, patient_key: str | None = 'patient', random_state: int = 0, key_added: str | None = None,
    copy: bool
) -> pd.DataFrame | None: ...

@overload
def tissue_clusters(
    adata: AnnData, n_clusters: int = 8, *, use_rep: str, within_sample: bool = False, library_key: str = 'sample',
    patient_key: str | None = 'patient', marker_rep: str | None = None, random_state: int = 0,
    key_added: str = 'tissue_cluster', copy: Literal[False] = False
) -> None: ...
@overload
def tissue_clusters(
    adata: AnnData, n_clusters: int = 8, *, use_rep: str, within_sample: bool = False, library_key: str = 'sample',
    patient_key: str | None = 'patient', marker_rep: str | None = None, random_state: int = 0,
    key_added: str = 'tissue_cluster', copy: Literal[True]
) -> pd.Series: ...
@overload
def tissue_clusters(
    adata: AnnData, n_clusters: int = 8, *, use_rep: str, within_sample: bool = False, library_key: str = 'sample',
    patient_key: str | None = 'patient', marker_rep: str | None = None, random_state: int = 0,
    key_added: str = 'tissue_cluster', copy: bool
) -> pd.Series | None: ...

@overload
def classify_samples(
    adata: AnnData, *, label_key: str, use_rep: str | Sequence[str],
    n_components: int | None | Sequence[int | None] = 64, n_draws: int = 100, test_size: float = 0.2,
    n_permutations: int = 0, block_key: str | None = None, C: float = 1.0, scale_components: bool = False,
    class_weight: Literal['balanced'] | None = None, cells_per_patient: CasesDepth = 'auto', max_rows: int = 10000,
    positive: str | None = None, patient_key: str | None = 'patient', library_key: str | None = 'sample',
    on_missing: OnMissing_ = 'raise', random_state: int = 0, on_selected: OnSelected = 'raise',
    key_added: str = 'classify_samples', copy: Literal[False] = False
) -> None: ...
@overload
def classify_samples(
    adata: AnnData, *, label_key: str, use_rep: str | Sequence[str],
    n_components: int | None | Sequence[int | None] = 64, n_draws: int = 100, test_size: float = 0.2,
    n_permutations: int = 0, block_key: str | None = None, C: float = 1.0, scale_components: bool = False,
    class_weight: Literal['balanced'] | None = None, cells_per_patient: CasesDepth = 'auto', max_rows: int = 10000,
    positive: str | None = None, patient_key: str | None = 'patient', library_key: str | None = 'sample',
    on_missing: OnMissing_ = 'raise', random_state: int = 0, on_selected: OnSelected = 'raise',
    key_added: str = 'classify_samples', copy: Literal[True]
) -> ClassifiedRecord: ...
@overload
def classify_samples(
    adata: AnnData, *, label_key: str, use_rep: str | Sequence[str],
    n_components: int | None | Sequence[int | None] = 64, n_draws: int = 100, test_size: float = 0.2,
    n_permutations: int = 0, block_key: str | None = None, C: float = 1.0, scale_components: bool = False,
    class_weight: Literal['balanced'] | None = None, cells_per_patient: CasesDepth = 'auto', max_rows: int = 10000,
    positive: str | None = None, patient_key: str | None = 'patient', library_key: str | None = 'sample',
    on_missing: OnMissing_ = 'raise', random_state: int = 0, on_selected: OnSelected = 'raise',
    key_added: str = 'classify_samples', copy: bool
) -> ClassifiedRecord | None: ...

@overload
def compare_composition(
    patients: AnnData, group_key: str, *, method: Method_ | None = None, groups: Sequence[str] | None = None,
    covariates: str | Sequence[str] | None = None, block_key: str | None = None, pair_key: str | None = None,
    time_key: str | None = None, model: Literal['mixed'] | None = None, reference: str | Sequence[str] | None = None,
    patient_key: str | None = 'patient', pseudocount: float = 0.5, alpha: float = 0.05, n_permutations: int = 4999,
    on_missing: Literal['raise', 'drop'] = 'raise', random_state: int = 0, on_selected: OnSelected = 'raise',
    key_added: str = 'compare_composition', copy: Literal[False] = False
) -> None: ...
@overload
def compare_composition(
    patients: AnnData, group_key: str, *, method: Method_ | None = None, groups: Sequence[str] | None = None,
    covariates: str | Sequence[str] | None = None, block_key: str | None = None, pair_key: str | None = None,
    time_key: str | None = None, model: Literal['mixed'] | None = None, reference: str | Sequence[str] | None = None,
    patient_key: str | None = 'patient', pseudocount: float = 0.5, alpha: float = 0.05, n_permutations: int = 4999,
    on_missing: Literal['raise', 'drop'] = 'raise', random_state: int = 0, on_selected: OnSelected = 'raise',
    key_added: str = 'compare_composition', copy: Literal[True]
) -> pd.DataFrame: ...
@overload
def compare_composition(
    patients: AnnData, group_key: str, *, method: Method_ | None = None, groups: Sequence[str] | None = None,
    covariates: str | Sequence[str] | None = None, block_key: str | None = None, pair_key: str | None = None,
    time_key: str | None = None, model: Literal['mixed'] | None = None, reference: str | Sequence[str] | None = None,
    patient_key: str | None = 'patient', pseudocount: float = 0.5, alpha: float = 0.05, n_permutations: int = 4999,
    on_missing: Literal['raise', 'drop'] = 'raise', random_state: int = 0, on_selected: OnSelected = 'raise',
    key_added: str = 'compare_composition', copy: bool
) -> pd.DataFrame | None: ...

@overload
def distribution_shift(
    adata: AnnData, *, use_rep: str, time_key: str, patient_key: str = 'patient', group_key: str | None = None,
    covariates: str | Sequence[str] | None = None, block_key: str | None = None, library_key: str | None = 'sample',
    time_points: Sequence[str] | None = None, reference: str | None = None, epsilon: float = 0.001,
    scale_cost: bool = True, debiased: bool = False, n_cells: int = 300, n_repeats: int = 5, min_cells: int = 100,
    max_iter: int = 10000, tol: float = 0.001, on_missing: Literal['raise', 'drop'] = 'raise', random_state: int = 0,
    key_added: str = 'distribution_shift', copy: Literal[False] = False
) -> None: ...
@overload
def distribution_shift(
    adata: AnnData, *, use_rep: str, time_key: str, patient_key: str = 'patient', group_key: str | None = None,
    covariates: str | Sequence[str] | None = None, block_key: str | None = None, library_key: str | None = 'sample',
    time_points: Sequence[str] | None = None, reference: str | None = None, epsilon: float = 0.001,
    scale_cost: bool = True, debiased: bool = False, n_cells: int = 300, n_repeats: int = 5, min_cells: int = 100,
    max_iter: int = 10000, tol: float = 0.001, on_missing: Literal['raise', 'drop'] = 'raise', random_state: int = 0,
    key_added: str = 'distribution_shift', copy: Literal[True]
) -> ShiftRecord: ...
@overload
def distribution_shift(
    adata: AnnData, *, use_rep: str, time_key: str, patient_key: str = 'patient', group_key: str | None = None,
    covariates: str | Sequence[str] | None = None, block_key: str | None = None, library_key: str | None = 'sample',
    time_points: Sequence[str] | None = None, reference: str | None = None, epsilon: float = 0.001,
    scale_cost: bool = True, debiased: bool = False, n_cells: int = 300, n_repeats: int = 5, min_cells: int = 100,
    max_iter: int = 10000, tol: float = 0.001, on_missing: Literal['raise', 'drop'] = 'raise', random_state: int = 0,
    key_added: str = 'distribution_shift', copy: bool
) -> ShiftRecord | None: ...

@overload
def few_shot_samples(
    adata: AnnData, *, label_key: str, use_rep: str | Sequence[str] | None = None,
    cluster_key: str | Sequence[str] | None = None, n_clusters: int | None | Sequence[int | None] = 8,
    n_support: int = 5, n_draws: int = 100, n_permutations: int = 0, block_key: str | None = None,
    metric: Metric = 'euclidean', cells_per_patient: CasesDepth = 'auto', positive: str | None = None,
    patient_key: str | None = 'patient', library_key: str | None = 'sample', on_missing: OnMissing_ = 'raise',
    random_state: int = 0, on_selected: OnSelected = 'raise', key_added: str = 'few_shot_samples',
    copy: Literal[False] = False
) -> None: ...
@overload
def few_shot_samples(
    adata: AnnData, *, label_key: str, use_rep: str | Sequence[str] | None = None,
    cluster_key: str | Sequence[str] | None = None, n_clusters: int | None | Sequence[int | None] = 8,
    n_support: int = 5, n_draws: int = 100, n_permutations: int = 0, block_key: str | None = None,
    metric: Metric = 'euclidean', cells_per_patient: CasesDepth = 'auto', positive: str | None = None,
    patient_key: str | None = 'patient', library_key: str | None = 'sample', on_missing: OnMissing_ = 'raise',
    random_state: int = 0, on_selected: OnSelected = 'raise', key_added: str = 'few_shot_samples', copy: Literal[True]
) -> ClassifiedRecord: ...
@overload
def few_shot_samples(
    adata: AnnData, *, label_key: str, use_rep: str | Sequence[str] | None = None,
    cluster_key: str | Sequence[str] | None = None, n_clusters: int | None | Sequence[int | None] = 8,
    n_support: int = 5, n_draws: int = 100, n_permutations: int = 0, block_key: str | None = None,
    metric: Metric = 'euclidean', cells_per_patient: CasesDepth = 'auto', positive: str | None = None,
    patient_key: str | None = 'patient', library_key: str | None = 'sample', on_missing: OnMissing_ = 'raise',
    random_state: int = 0, on_selected: OnSelected = 'raise', key_added: str = 'few_shot_samples', copy: bool
) -> ClassifiedRecord | None: ...

@overload
def mil(
    adata: AnnData, *, use_rep: str, label_key: str | None = None, target_key: str | None = None,
    time_key: str | None = None, event_key: str | None = None, event_value: EventValue = None,
    task: TaskName | None = None,
    head: Literal['attention', 'transformer', 'stamp', 'histobistro', 'bcos'] = 'attention',
    bag: Literal['patient', 'sample'] = 'patient', n_folds: int = 5, n_seeds: int = 5, n_permutations: int = 0,
    block_key: str | None = None, cells_per_patient: CasesDepth = 'auto', n_heads: int = 8, hidden: int | None = None,
    n_layers: int = 2, dropout: float = 0.0, learning_rate: float = 0.0001, batch_size: int = 16,
    max_epochs: int = 100, patience: int = 10, validation_size: float = 0.2, max_cells: int = 512,
    weight_decay: float = 0.0, one_cycle: bool = False, padding: Literal['masked', 'published'] = 'masked',
    gradients: bool = False, positive: str | None = None, patient_key: str | None = 'patient',
    library_key: str | None = 'sample', on_missing: OnMissing_ = 'raise', device: str | None = None,
    random_state: int = 0, on_selected: OnSelected = 'raise', key_added: str = 'mil', copy: Literal[False] = False
) -> None: ...
@overload
def mil(
    adata: AnnData, *, use_rep: str, label_key: str | None = None, target_key: str | None = None,
    time_key: str | None = None, event_key: str | None = None, event_value: EventValue = None,
    task: TaskName | None = None,
    head: Literal['attention', 'transformer', 'stamp', 'histobistro', 'bcos'] = 'attention',
    bag: Literal['patient', 'sample'] = 'patient', n_folds: int = 5, n_seeds: int = 5, n_permutations: int = 0,
    block_key: str | None = None, cells_per_patient: CasesDepth = 'auto', n_heads: int = 8, hidden: int | None = None,
    n_layers: int = 2, dropout: float = 0.0, learning_rate: float = 0.0001, batch_size: int = 16,
    max_epochs: int = 100, patience: int = 10, validation_size: float = 0.2, max_cells: int = 512,
    weight_decay: float = 0.0, one_cycle: bool = False, padding: Literal['masked', 'published'] = 'masked',
    gradients: bool = False, positive: str | None = None, patient_key: str | None = 'patient',
    library_key: str | None = 'sample', on_missing: OnMissing_ = 'raise', device: str | None = None,
    random_state: int = 0, on_selected: OnSelected = 'raise', key_added: str = 'mil', copy: Literal[True]
) -> MilRecord: ...
@overload
def mil(
    adata: AnnData, *, use_rep: str, label_key: str | None = None, target_key: str | None = None,
    time_key: str | None = None, event_key: str | None = None, event_value: EventValue = None,
    task: TaskName | None = None,
    head: Literal['attention', 'transformer', 'stamp', 'histobistro', 'bcos'] = 'attention',
    bag: Literal['patient', 'sample'] = 'patient', n_folds: int = 5, n_seeds: int = 5, n_permutations: int = 0,
    block_key: str | None = None, cells_per_patient: CasesDepth = 'auto', n_heads: int = 8, hidden: int | None = None,
    n_layers: int = 2, dropout: float = 0.0, learning_rate: float = 0.0001, batch_size: int = 16,
    max_epochs: int = 100, patience: int = 10, validation_size: float = 0.2, max_cells: int = 512,
    weight_decay: float = 0.0, one_cycle: bool = False, padding: Literal['masked', 'published'] = 'masked',
    gradients: bool = False, positive: str | None = None, patient_key: str | None = 'patient',
    library_key: str | None = 'sample', on_missing: OnMissing_ = 'raise', device: str | None = None,
    random_state: int = 0, on_selected: OnSelected = 'raise', key_added: str = 'mil', copy: bool
) -> MilRecord | None: ...

@overload
def predict_bags(
    adata: AnnData, weights: str | PathLike, *, use_rep: str, classes: Sequence[str] | None = None,
    task: TaskName | None = None, gradients: bool = False, patient_key: str | None = 'patient',
    library_key: str | None = 'sample', device: str | None = None, key_added: str = 'bags',
    copy: Literal[False] = False
) -> None: ...
@overload
def predict_bags(
    adata: AnnData, weights: str | PathLike, *, use_rep: str, classes: Sequence[str] | None = None,
    task: TaskName | None = None, gradients: bool = False, patient_key: str | None = 'patient',
    library_key: str | None = 'sample', device: str | None = None, key_added: str = 'bags', copy: Literal[True]
) -> BagsRecord: ...
@overload
def predict_bags(
    adata: AnnData, weights: str | PathLike, *, use_rep: str, classes: Sequence[str] | None = None,
    task: TaskName | None = None, gradients: bool = False, patient_key: str | None = 'patient',
    library_key: str | None = 'sample', device: str | None = None, key_added: str = 'bags', copy: bool
) -> BagsRecord | None: ...

@overload
def discover_signatures(
    adata: AnnData, *, use_rep: str, outcome: str | tuple[str, str], positive: str | None = None,
    event_value: EventValue = None, patient_key: str = 'patient', library_key: str | None = 'sample',
    resolutions: Sequence[float] = ..., max_cells: int | None = 2000, n_neighbors: int = 15, n_signatures: int = 2,
    merge_overlap: float | None = 0.8, min_patients: int = 5, cells_per_patient: Depth = 'even', sketch: Size = 'auto',
    n_folds: int = 4, n_repeats: int = 10, n_repeats_model: int = 25, nested: bool = True, n_repeats_nested: int = 1,
    n_assign: int = 15, n_permutations: int = 200, block_key: str | None = None,
    on_missing: Literal['raise', 'drop'] = 'raise', n_jobs: int = 1, random_state: int = 0,
    key_added: str = 'signatures', copy: Literal[False] = False
) -> None: ...
@overload
def discover_signatures(
    adata: AnnData, *, use_rep: str, outcome: str | tuple[str, str], positive: str | None = None,
    event_value: EventValue = None, patient_key: str = 'patient', library_key: str | None = 'sample',
    resolutions: Sequence[float] = ..., max_cells: int | None = 2000, n_neighbors: int = 15, n_signatures: int = 2,
    merge_overlap: float | None = 0.8, min_patients: int = 5, cells_per_patient: Depth = 'even', sketch: Size = 'auto',
    n_folds: int = 4, n_repeats: int = 10, n_repeats_model: int = 25, nested: bool = True, n_repeats_nested: int = 1,
    n_assign: int = 15, n_permutations: int = 200, block_key: str | None = None,
    on_missing: Literal['raise', 'drop'] = 'raise', n_jobs: int = 1, random_state: int = 0,
    key_added: str = 'signatures', copy: Literal[True]
) -> SignaturesRecord: ...
@overload
def discover_signatures(
    adata: AnnData, *, use_rep: str, outcome: str | tuple[str, str], positive: str | None = None,
    event_value: EventValue = None, patient_key: str = 'patient', library_key: str | None = 'sample',
    resolutions: Sequence[float] = ..., max_cells: int | None = 2000, n_neighbors: int = 15, n_signatures: int = 2,
    merge_overlap: float | None = 0.8, min_patients: int = 5, cells_per_patient: Depth = 'even', sketch: Size = 'auto',
    n_folds: int = 4, n_repeats: int = 10, n_repeats_model: int = 25, nested: bool = True, n_repeats_nested: int = 1,
    n_assign: int = 15, n_permutations: int = 200, block_key: str | None = None,
    on_missing: Literal['raise', 'drop'] = 'raise', n_jobs: int = 1, random_state: int = 0,
    key_added: str = 'signatures', copy: bool
) -> SignaturesRecord | None: ...

@overload
def transfer_signatures(
    source: AnnData, target: AnnData, *, use_rep: str, key: str = 'signatures', patient_key: str | None = 'patient',
    n_trees: int = 200, max_depth: int = 16, test_size: float = 0.2, n_neighbors: int = 15, n_jobs: int = 1,
    random_state: int = 0, key_added: str | None = None, copy: Literal[False] = False
) -> None: ...
@overload
def transfer_signatures(
    source: AnnData, target: AnnData, *, use_rep: str, key: str = 'signatures', patient_key: str | None = 'patient',
    n_trees: int = 200, max_depth: int = 16, test_size: float = 0.2, n_neighbors: int = 15, n_jobs: int = 1,
    random_state: int = 0, key_added: str | None = None, copy: Literal[True]
) -> pd.DataFrame: ...
@overload
def transfer_signatures(
    source: AnnData, target: AnnData, *, use_rep: str, key: str = 'signatures', patient_key: str | None = 'patient',
    n_trees: int = 200, max_depth: int = 16, test_size: float = 0.2, n_neighbors: int = 15, n_jobs: int = 1,
    random_state: int = 0, key_added: str | None = None, copy: bool
) -> pd.DataFrame | None: ...

@overload
def added_value(
    patients: AnnData, features: str | Sequence[str], covariates: str | Sequence[str], *, layer: str | None = None,
    time_key: str | None = None, event_key: str | None = None, event_value: EventValue = None,
    entry_key: str | None = None, n_bootstrap: int = 200, alpha: float = 0.05, random_state: int = 0,
    patient_key: str | None = 'patient', on_missing: OnMissing = 'raise', on_selected: OnSelected = 'raise',
    key_added: str = 'added_value', copy: Literal[False] = False
) -> None: ...
@overload
def added_value(
    patients: AnnData, features: str | Sequence[str], covariates: str | Sequence[str], *, layer: str | None = None,
    time_key: str | None = None, event_key: str | None = None, event_value: EventValue = None,
    entry_key: str | None = None, n_bootstrap: int = 200, alpha: float = 0.05, random_state: int = 0,
    patient_key: str | None = 'patient', on_missing: OnMissing = 'raise', on_selected: OnSelected = 'raise',
    key_added: str = 'added_value', copy: Literal[True]
) -> AddedValueRecord: ...
@overload
def added_value(
    patients: AnnData, features: str | Sequence[str], covariates: str | Sequence[str], *, layer: str | None = None,
    time_key: str | None = None, event_key: str | None = None, event_value: EventValue = None,
    entry_key: str | None = None, n_bootstrap: int = 200, alpha: float = 0.05, random_state: int = 0,
    patient_key: str | None = 'patient', on_missing: OnMissing = 'raise', on_selected: OnSelected = 'raise',
    key_added: str = 'added_value', copy: bool
) -> AddedValueRecord | None: ...

@overload
def compare_concordance(
    patients: AnnData, score_keys: Sequence[str], *, layer: str | None = None, time_key: str | None = None,
    event_key: str | None = None, event_value: EventValue = None, entry_key: str | None = None, alpha: float = 0.05,
    patient_key: str | None = 'patient', on_missing: OnMissing = 'raise', on_selected: OnSelected = 'raise',
    key_added: str = 'compare_concordance', copy: Literal[False] = False
) -> None: ...
@overload
def compare_concordance(
    patients: AnnData, score_keys: Sequence[str], *, layer: str | None = None, time_key: str | None = None,
    event_key: str | None = None, event_value: EventValue = None, entry_key: str | None = None, alpha: float = 0.05,
    patient_key: str | None = 'patient', on_missing: OnMissing = 'raise', on_selected: OnSelected = 'raise',
    key_added: str = 'compare_concordance', copy: Literal[True]
) -> ConcordancesRecord: ...
@overload
def compare_concordance(
    patients: AnnData, score_keys: Sequence[str], *, layer: str | None = None, time_key: str | None = None,
    event_key: str | None = None, event_value: EventValue = None, entry_key: str | None = None, alpha: float = 0.05,
    patient_key: str | None = 'patient', on_missing: OnMissing = 'raise', on_selected: OnSelected = 'raise',
    key_added: str = 'compare_concordance', copy: bool
) -> ConcordancesRecord | None: ...

@overload
def concordance(
    patients: AnnData, score_key: str, *, layer: str | None = None, time_key: str | None = None,
    event_key: str | None = None, event_value: EventValue = None, entry_key: str | None = None,
    n_bootstrap: int = 1000, alpha: float = 0.05, random_state: int = 0, patient_key: str | None = 'patient',
    on_missing: OnMissing = 'raise', on_selected: OnSelected = 'raise', key_added: str = 'concordance',
    copy: Literal[False] = False
) -> None: ...
@overload
def concordance(
    patients: AnnData, score_key: str, *, layer: str | None = None, time_key: str | None = None,
    event_key: str | None = None, event_value: EventValue = None, entry_key: str | None = None,
    n_bootstrap: int = 1000, alpha: float = 0.05, random_state: int = 0, patient_key: str | None = 'patient',
    on_missing: OnMissing = 'raise', on_selected: OnSelected = 'raise', key_added: str = 'concordance',
    copy: Literal[True]
) -> ConcordanceRecord: ...
@overload
def concordance(
    patients: AnnData, score_key: str, *, layer: str | None = None, time_key: str | None = None,
    event_key: str | None = None, event_value: EventValue = None, entry_key: str | None = None,
    n_bootstrap: int = 1000, alpha: float = 0.05, random_state: int = 0, patient_key: str | None = 'patient',
    on_missing: OnMissing = 'raise', on_selected: OnSelected = 'raise', key_added: str = 'concordance', copy: bool
) -> ConcordanceRecord | None: ...

@overload
def cox(
    patients: AnnData, covariates: str | Sequence[str], *, layer: str | None = None,
    reference: Mapping[str, str] | None = None, standardize: bool = False, strata: str | Sequence[str] | None = None,
    ties: Ties = 'efron', se_cluster_key: str | None = None, cluster_se: ClusterSE = 'jackknife',
    distribution: Distribution = 'auto', penalizer: float = 0.0, test_proportional_hazards: bool = True,
    alpha: float = 0.05, time_key: str | None = None, event_key: str | None = None, event_value: EventValue = None,
    entry_key: str | None = None, patient_key: str | None = 'patient', on_missing: OnMissing = 'raise',
    on_selected: OnSelected = 'raise', key_added: str = 'cox', copy: Literal[False] = False
) -> None: ...
@overload
def cox(
    patients: AnnData, covariates: str | Sequence[str], *, layer: str | None = None,
    reference: Mapping[str, str] | None = None, standardize: bool = False, strata: str | Sequence[str] | None = None,
    ties: Ties = 'efron', se_cluster_key: str | None = None, cluster_se: ClusterSE = 'jackknife',
    distribution: Distribution = 'auto', penalizer: float = 0.0, test_proportional_hazards: bool = True,
    alpha: float = 0.05, time_key: str | None = None, event_key: str | None = None, event_value: EventValue = None,
    entry_key: str | None = None, patient_key: str | None = 'patient', on_missing: OnMissing = 'raise',
    on_selected: OnSelected = 'raise', key_added: str = 'cox', copy: Literal[True]
) -> CoxRecord: ...
@overload
def cox(
    patients: AnnData, covariates: str | Sequence[str], *, layer: str | None = None,
    reference: Mapping[str, str] | None = None, standardize: bool = False, strata: str | Sequence[str] | None = None,
    ties: Ties = 'efron', se_cluster_key: str | None = None, cluster_se: ClusterSE = 'jackknife',
    distribution: Distribution = 'auto', penalizer: float = 0.0, test_proportional_hazards: bool = True,
    alpha: float = 0.05, time_key: str | None = None, event_key: str | None = None, event_value: EventValue = None,
    entry_key: str | None = None, patient_key: str | None = 'patient', on_missing: OnMissing = 'raise',
    on_selected: OnSelected = 'raise', key_added: str = 'cox', copy: bool
) -> CoxRecord | None: ...

@overload
def cumulative_incidence(
    patients: AnnData, group_key: str | None = None, *, strata: str | Sequence[str] | None = None,
    covariates: str | Sequence[str] | None = None, time_key: str | None = None, event_key: str | None = None,
    event_value: EventValue = None, censored_value: EventValue = None, entry_key: str | None = None,
    alpha: float = 0.05, n_permutations: int = 1999, patient_key: str | None = 'patient',
    on_missing: OnMissing = 'raise', on_selected: OnSelected = 'raise', random_state: int = 0,
    key_added: str = 'cumulative_incidence', copy: Literal[False] = False
) -> None: ...
@overload
def cumulative_incidence(
    patients: AnnData, group_key: str | None = None, *, strata: str | Sequence[str] | None = None,
    covariates: str | Sequence[str] | None = None, time_key: str | None = None, event_key: str | None = None,
    event_value: EventValue = None, censored_value: EventValue = None, entry_key: str | None = None,
    alpha: float = 0.05, n_permutations: int = 1999, patient_key: str | None = 'patient',
    on_missing: OnMissing = 'raise', on_selected: OnSelected = 'raise', random_state: int = 0,
    key_added: str = 'cumulative_incidence', copy: Literal[True]
) -> IncidenceRecord: ...
@overload
def cumulative_incidence(
    patients: AnnData, group_key: str | None = None, *, strata: str | Sequence[str] | None = None,
    covariates: str | Sequence[str] | None = None, time_key: str | None = None, event_key: str | None = None,
    event_value: EventValue = None, censored_value: EventValue = None, entry_key: str | None = None,
    alpha: float = 0.05, n_permutations: int = 1999, patient_key: str | None = 'patient',
    on_missing: OnMissing = 'raise', on_selected: OnSelected = 'raise', random_state: int = 0,
    key_added: str = 'cumulative_incidence', copy: bool
) -> IncidenceRecord | None: ...

@overload
def cut_point(
    patients: AnnData, score_key: str, *, layer: str | None = None, covariates: str | Sequence[str] | None = None,
    min_share: float = 0.2, n_permutations: int = 10000, block_key: str | None = None, time_key: str | None = None,
    event_key: str | None = None, event_value: EventValue = None, entry_key: str | None = None,
    patient_key: str | None = 'patient', on_missing: OnMissing = 'raise', random_state: int = 0,
    on_selected: OnSelected = 'raise', key_added: str | None = None, copy: Literal[False] = False
) -> None: ...
@overload
def cut_point(
    patients: AnnData, score_key: str, *, layer: str | None = None, covariates: str | Sequence[str] | None = None,
    min_share: float = 0.2, n_permutations: int = 10000, block_key: str | None = None, time_key: str | None = None,
    event_key: str | None = None, event_value: EventValue = None, entry_key: str | None = None,
    patient_key: str | None = 'patient', on_missing: OnMissing = 'raise', random_state: int = 0,
    on_selected: OnSelected = 'raise', key_added: str | None = None, copy: Literal[True]
) -> CutPointRecord: ...
@overload
def cut_point(
    patients: AnnData, score_key: str, *, layer: str | None = None, covariates: str | Sequence[str] | None = None,
    min_share: float = 0.2, n_permutations: int = 10000, block_key: str | None = None, time_key: str | None = None,
    event_key: str | None = None, event_value: EventValue = None, entry_key: str | None = None,
    patient_key: str | None = 'patient', on_missing: OnMissing = 'raise', random_state: int = 0,
    on_selected: OnSelected = 'raise', key_added: str | None = None, copy: bool
) -> CutPointRecord | None: ...

@overload
def fine_gray(
    patients: AnnData, covariates: str | Sequence[str], *, event_value: EventValue, censored_value: EventValue = None,
    layer: str | None = None, reference: Mapping[str, str] | None = None, standardize: bool = False,
    ties: Ties = 'efron', se: StandardErrors = 'larger', alpha: float = 0.05, time_key: str | None = None,
    event_key: str | None = None, entry_key: str | None = None, patient_key: str | None = 'patient',
    on_missing: OnMissing = 'raise', on_selected: OnSelected = 'raise', key_added: str = 'fine_gray',
    copy: Literal[False] = False
) -> None: ...
@overload
def fine_gray(
    patients: AnnData, covariates: str | Sequence[str], *, event_value: EventValue, censored_value: EventValue = None,
    layer: str | None = None, reference: Mapping[str, str] | None = None, standardize: bool = False,
    ties: Ties = 'efron', se: StandardErrors = 'larger', alpha: float = 0.05, time_key: str | None = None,
    event_key: str | None = None, entry_key: str | None = None, patient_key: str | None = 'patient',
    on_missing: OnMissing = 'raise', on_selected: OnSelected = 'raise', key_added: str = 'fine_gray',
    copy: Literal[True]
) -> FineGrayRecord: ...
@overload
def fine_gray(
    patients: AnnData, covariates: str | Sequence[str], *, event_value: EventValue, censored_value: EventValue = None,
    layer: str | None = None, reference: Mapping[str, str] | None = None, standardize: bool = False,
    ties: Ties = 'efron', se: StandardErrors = 'larger', alpha: float = 0.05, time_key: str | None = None,
    event_key: str | None = None, entry_key: str | None = None, patient_key: str | None = 'patient',
    on_missing: OnMissing = 'raise', on_selected: OnSelected = 'raise', key_added: str = 'fine_gray', copy: bool
) -> FineGrayRecord | None: ...

@overload
def kaplan_meier(
    patients: AnnData, group_key: str | None = None, *, time_key: str | None = None, event_key: str | None = None,
    event_value: EventValue = None, entry_key: str | None = None, interval: Interval = 'log-log', alpha: float = 0.05,
    patient_key: str | None = 'patient', on_missing: OnMissing = 'raise', key_added: str = 'kaplan_meier',
    copy: Literal[False] = False
) -> None: ...
@overload
def kaplan_meier(
    patients: AnnData, group_key: str | None = None, *, time_key: str | None = None, event_key: str | None = None,
    event_value: EventValue = None, entry_key: str | None = None, interval: Interval = 'log-log', alpha: float = 0.05,
    patient_key: str | None = 'patient', on_missing: OnMissing = 'raise', key_added: str = 'kaplan_meier',
    copy: Literal[True]
) -> KaplanMeierRecord: ...
@overload
def kaplan_meier(
    patients: AnnData, group_key: str | None = None, *, time_key: str | None = None, event_key: str | None = None,
    event_value: EventValue = None, entry_key: str | None = None, interval: Interval = 'log-log', alpha: float = 0.05,
    patient_key: str | None = 'patient', on_missing: OnMissing = 'raise', key_added: str = 'kaplan_meier', copy: bool
) -> KaplanMeierRecord | None: ...

@overload
def logrank(
    patients: AnnData, group_key: str, *, strata: str | Sequence[str] | None = None,
    covariates: str | Sequence[str] | None = None, pairwise: bool = False, trend: bool = False,
    weights: Weights = 'logrank', method: Method__ = 'auto', n_permutations: int = 9999, time_key: str | None = None,
    event_key: str | None = None, event_value: EventValue = None, entry_key: str | None = None,
    patient_key: str | None = 'patient', on_missing: OnMissing = 'raise', random_state: int = 0,
    on_selected: OnSelected = 'raise', key_added: str = 'logrank', copy: Literal[False] = False
) -> None: ...
@overload
def logrank(
    patients: AnnData, group_key: str, *, strata: str | Sequence[str] | None = None,
    covariates: str | Sequence[str] | None = None, pairwise: bool = False, trend: bool = False,
    weights: Weights = 'logrank', method: Method__ = 'auto', n_permutations: int = 9999, time_key: str | None = None,
    event_key: str | None = None, event_value: EventValue = None, entry_key: str | None = None,
    patient_key: str | None = 'patient', on_missing: OnMissing = 'raise', random_state: int = 0,
    on_selected: OnSelected = 'raise', key_added: str = 'logrank', copy: Literal[True]
) -> LogrankRecord: ...
@overload
def logrank(
    patients: AnnData, group_key: str, *, strata: str | Sequence[str] | None = None,
    covariates: str | Sequence[str] | None = None, pairwise: bool = False, trend: bool = False,
    weights: Weights = 'logrank', method: Method__ = 'auto', n_permutations: int = 9999, time_key: str | None = None,
    event_key: str | None = None, event_value: EventValue = None, entry_key: str | None = None,
    patient_key: str | None = 'patient', on_missing: OnMissing = 'raise', random_state: int = 0,
    on_selected: OnSelected = 'raise', key_added: str = 'logrank', copy: bool
) -> LogrankRecord | None: ...

@overload
def predict_survival(
    source: AnnData, target: AnnData, *, key: str = 'cox', cut: str | float | None = None, score: bool = True,
    times: Sequence[float] | None = None, horizon: float | None = None, thresholds: Sequence[float] | None = None,
    n_groups: int = 5, time_key: str | None = None, event_key: str | None = None, event_value: EventValue = None,
    patient_key: str | None = 'patient', n_bootstrap: int = 1000, alpha: float = 0.05, random_state: int = 0,
    on_missing: OnMissing = 'raise', on_shared: OnShared = 'raise', on_selected: OnSelected = 'raise',
    key_added: str | None = None, copy: Literal[False] = False
) -> None: ...
@overload
def predict_survival(
    source: AnnData, target: AnnData, *, key: str = 'cox', cut: str | float | None = None, score: bool = True,
    times: Sequence[float] | None = None, horizon: float | None = None, thresholds: Sequence[float] | None = None,
    n_groups: int = 5, time_key: str | None = None, event_key: str | None = None, event_value: EventValue = None,
    patient_key: str | None = 'patient', n_bootstrap: int = 1000, alpha: float = 0.05, random_state: int = 0,
    on_missing: OnMissing = 'raise', on_shared: OnShared = 'raise', on_selected: OnSelected = 'raise',
    key_added: str | None = None, copy: Literal[True]
) -> PredictionRecord: ...
@overload
def predict_survival(
    source: AnnData, target: AnnData, *, key: str = 'cox', cut: str | float | None = None, score: bool = True,
    times: Sequence[float] | None = None, horizon: float | None = None, thresholds: Sequence[float] | None = None,
    n_groups: int = 5, time_key: str | None = None, event_key: str | None = None, event_value: EventValue = None,
    patient_key: str | None = 'patient', n_bootstrap: int = 1000, alpha: float = 0.05, random_state: int = 0,
    on_missing: OnMissing = 'raise', on_shared: OnShared = 'raise', on_selected: OnSelected = 'raise',
    key_added: str | None = None, copy: bool
) -> PredictionRecord | None: ...

@overload
def rmst(
    patients: AnnData, group_key: str | None = None, *, horizon: float | None = None,
    covariates: str | Sequence[str] | None = None, alpha: float = 0.05, n_permutations: int = 9999,
    time_key: str | None = None, event_key: str | None = None, event_value: EventValue = None,
    entry_key: str | None = None, patient_key: str | None = 'patient', on_missing: OnMissing = 'raise',
    on_selected: OnSelected = 'raise', random_state: int = 0, key_added: str = 'rmst', copy: Literal[False] = False
) -> None: ...
@overload
def rmst(
    patients: AnnData, group_key: str | None = None, *, horizon: float | None = None,
    covariates: str | Sequence[str] | None = None, alpha: float = 0.05, n_permutations: int = 9999,
    time_key: str | None = None, event_key: str | None = None, event_value: EventValue = None,
    entry_key: str | None = None, patient_key: str | None = 'patient', on_missing: OnMissing = 'raise',
    on_selected: OnSelected = 'raise', random_state: int = 0, key_added: str = 'rmst', copy: Literal[True]
) -> RmstRecord: ...
@overload
def rmst(
    patients: AnnData, group_key: str | None = None, *, horizon: float | None = None,
    covariates: str | Sequence[str] | None = None, alpha: float = 0.05, n_permutations: int = 9999,
    time_key: str | None = None, event_key: str | None = None, event_value: EventValue = None,
    entry_key: str | None = None, patient_key: str | None = 'patient', on_missing: OnMissing = 'raise',
    on_selected: OnSelected = 'raise', random_state: int = 0, key_added: str = 'rmst', copy: bool
) -> RmstRecord | None: ...

@overload
def coxnet(
    patients: AnnData, *, use_rep: str | None = 'X', layer: str | None = None,
    covariates: str | Sequence[str] | None = None, n_components: int | None = None,
    l1_ratio: float | Sequence[float] = 0.5, n_alphas: int = 50, n_folds: int = 5, n_inner_folds: int = 5,
    n_repeats: int = 5, n_permutations: int = 0, block_key: str | None = None, n_bootstrap: int = 1000,
    time_key: str | None = None, event_key: str | None = None, event_value: EventValue = None,
    patient_key: str | None = 'patient', on_missing: OnMissing = 'raise', n_jobs: int = 1, random_state: int = 0,
    on_selected: OnSelected = 'raise', key_added: str = 'coxnet', copy: Literal[False] = False
) -> None: ...
@overload
def coxnet(
    patients: AnnData, *, use_rep: str | None = 'X', layer: str | None = None,
    covariates: str | Sequence[str] | None = None, n_components: int | None = None,
    l1_ratio: float | Sequence[float] = 0.5, n_alphas: int = 50, n_folds: int = 5, n_inner_folds: int = 5,
    n_repeats: int = 5, n_permutations: int = 0, block_key: str | None = None, n_bootstrap: int = 1000,
    time_key: str | None = None, event_key: str | None = None, event_value: EventValue = None,
    patient_key: str | None = 'patient', on_missing: OnMissing = 'raise', n_jobs: int = 1, random_state: int = 0,
    on_selected: OnSelected = 'raise', key_added: str = 'coxnet', copy: Literal[True]
) -> SurvivalModelRecord: ...
@overload
def coxnet(
    patients: AnnData, *, use_rep: str | None = 'X', layer: str | None = None,
    covariates: str | Sequence[str] | None = None, n_components: int | None = None,
    l1_ratio: float | Sequence[float] = 0.5, n_alphas: int = 50, n_folds: int = 5, n_inner_folds: int = 5,
    n_repeats: int = 5, n_permutations: int = 0, block_key: str | None = None, n_bootstrap: int = 1000,
    time_key: str | None = None, event_key: str | None = None, event_value: EventValue = None,
    patient_key: str | None = 'patient', on_missing: OnMissing = 'raise', n_jobs: int = 1, random_state: int = 0,
    on_selected: OnSelected = 'raise', key_added: str = 'coxnet', copy: bool
) -> SurvivalModelRecord | None: ...

@overload
def survival_forest(
    patients: AnnData, *, use_rep: str | None = 'X', layer: str | None = None,
    covariates: str | Sequence[str] | None = None, n_components: int | None = None, n_trees: int = 200,
    min_samples_leaf: int | Sequence[int] = (3, 6, 12), n_importance: int = 5, n_folds: int = 5,
    n_inner_folds: int = 3, n_repeats: int = 3, n_permutations: int = 0, block_key: str | None = None,
    n_bootstrap: int = 1000, time_key: str | None = None, event_key: str | None = None, event_value: EventValue = None,
    patient_key: str | None = 'patient', on_missing: OnMissing = 'raise', n_jobs: int = 1, random_state: int = 0,
    on_selected: OnSelected = 'raise', key_added: str = 'survival_forest', copy: Literal[False] = False
) -> None: ...
@overload
def survival_forest(
    patients: AnnData, *, use_rep: str | None = 'X', layer: str | None = None,
    covariates: str | Sequence[str] | None = None, n_components: int | None = None, n_trees: int = 200,
    min_samples_leaf: int | Sequence[int] = (3, 6, 12), n_importance: int = 5, n_folds: int = 5,
    n_inner_folds: int = 3, n_repeats: int = 3, n_permutations: int = 0, block_key: str | None = None,
    n_bootstrap: int = 1000, time_key: str | None = None, event_key: str | None = None, event_value: EventValue = None,
    patient_key: str | None = 'patient', on_missing: OnMissing = 'raise', n_jobs: int = 1, random_state: int = 0,
    on_selected: OnSelected = 'raise', key_added: str = 'survival_forest', copy: Literal[True]
) -> SurvivalModelRecord: ...
@overload
def survival_forest(
    patients: AnnData, *, use_rep: str | None = 'X', layer: str | None = None,
    covariates: str | Sequence[str] | None = None, n_components: int | None = None, n_trees: int = 200,
    min_samples_leaf: int | Sequence[int] = (3, 6, 12), n_importance: int = 5, n_folds: int = 5,
    n_inner_folds: int = 3, n_repeats: int = 3, n_permutations: int = 0, block_key: str | None = None,
    n_bootstrap: int = 1000, time_key: str | None = None, event_key: str | None = None, event_value: EventValue = None,
    patient_key: str | None = 'patient', on_missing: OnMissing = 'raise', n_jobs: int = 1, random_state: int = 0,
    on_selected: OnSelected = 'raise', key_added: str = 'survival_forest', copy: bool
) -> SurvivalModelRecord | None: ...
