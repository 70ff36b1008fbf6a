"""Tools: embeddings, neighbourhoods, compositions and survival. They write into the AnnData or return a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "alignment.align": ["align"],
        "alignment.predict_expression": ["predict_expression"],
        "context.embed_context": ["embed_context"],
        "embedding.embed_cells": ["embed_cells"],
        "embedding.embed_tiles": ["embed_tiles"],
        "embedding.marker_attention": ["marker_attention"],
        "embedding.plan_embedding": ["plan_embedding"],
        "imputation.calibrate_imputation": ["calibrate_imputation"],
        "imputation.evaluate_reconstruction": ["evaluate_reconstruction"],
        "imputation.impute_markers": ["impute_markers"],
        "imputation.reconstruct": ["reconstruct"],
        "phenotypes.annotate": ["annotate"],
        "phenotypes.cell_states": ["cell_states"],
        "phenotypes.cluster_agreement": ["cluster_agreement"],
        "phenotypes.evaluate_annotation": ["evaluate_annotation"],
        "phenotypes.label_report": ["label_report"],
        "phenotypes.leiden_sweep": ["leiden_sweep"],
        "phenotypes.marker_positivity": ["marker_positivity"],
        "phenotypes.name_clusters": ["name_clusters"],
        "phenotypes.pixie": ["pixie"],
        "phenotypes.propose_types": ["propose_types"],
        "phenotypes.suggest_labels": ["suggest_labels"],
        "phenotypes.transfer_labels": ["transfer_labels"],
        "imputation.perturb_markers": ["perturb_markers"],
        "imputation.select_panel": ["select_panel"],
        "imputation.surprise": ["surprise"],
        "neighborhoods.compare_enrichment": ["compare_enrichment"],
        "neighborhoods.neighborhood_composition": ["neighborhood_composition"],
        "neighborhoods.neighborhood_contrast": ["neighborhood_contrast"],
        "neighborhoods.niches": ["niches"],
        "regions.detect_artifacts": ["detect_artifacts"],
        "regions.paint_tiles": ["paint_tiles"],
        "regions.segment_regions": ["segment_regions"],
        "regions.tile_labels": ["tile_labels"],
        "regions.tissue_clusters": ["tissue_clusters"],
        "samples.classify_samples": ["classify_samples"],
        "samples.compare_composition": ["compare_composition"],
        "samples.composition": ["composition"],
        "samples.distribution_shift": ["distribution_shift"],
        "samples.few_shot_samples": ["few_shot_samples"],
        "samples.embed_samples": ["embed_samples"],
        "samples.mil": ["mil"],
        "samples.predict_bags": ["predict_bags"],
        "patients.correct_together": ["correct_together"],
        "patients.power": ["power"],
        "patients.risk_ratio": ["risk_ratio"],
        "patients.stratify": ["stratify"],
        "signatures.discover_signatures": ["discover_signatures"],
        "signatures.score_signatures": ["score_signatures"],
        "signatures.transfer_signatures": ["transfer_signatures"],
        "survival.added_value": ["added_value"],
        "survival.compare_concordance": ["compare_concordance"],
        "survival.concordance": ["concordance"],
        "survival.cox": ["cox"],
        "survival.cumulative_incidence": ["cumulative_incidence"],
        "survival.cut_point": ["cut_point"],
        "survival.fine_gray": ["fine_gray"],
        "survival.kaplan_meier": ["kaplan_meier"],
        "survival.logrank": ["logrank"],
        "survival.predict_survival": ["predict_survival"],
        "survival.rmst": ["rmst"],
        "survival.survival_models": ["coxnet", "survival_forest"],
        "retrieval.search": ["Index", "build_index", "search"],
        "retrieval.search_samples": ["search_samples"],
    },
)

if TYPE_CHECKING:
    from .alignment.align import align
    from .alignment.predict_expression import predict_expression
    from .context.embed_context import embed_context
    from .embedding.embed_cells import embed_cells
    from .embedding.embed_tiles import embed_tiles
    from .embedding.marker_attention import marker_attention
    from .embedding.plan_embedding import plan_embedding
    from .imputation.calibrate_imputation import calibrate_imputation
    from .imputation.evaluate_reconstruction import evaluate_reconstruction
    from .imputation.impute_markers import impute_markers
    from .imputation.perturb_markers import perturb_markers
    from .imputation.reconstruct import reconstruct
    from .imputation.select_panel import select_panel
    from .imputation.surprise import surprise
    from .neighborhoods.compare_enrichment import compare_enrichment
    from .neighborhoods.neighborhood_composition import neighborhood_composition
    from .neighborhoods.neighborhood_contrast import neighborhood_contrast
    from .neighborhoods.niches import niches
    from .patients.correct_together import correct_together
    from .patients.power import power
    from .patients.risk_ratio import risk_ratio
    from .patients.stratify import stratify
    from .phenotypes.annotate import annotate
    from .phenotypes.cell_states import cell_states
    from .phenotypes.cluster_agreement import cluster_agreement
    from .phenotypes.evaluate_annotation import evaluate_annotation
    from .phenotypes.label_report import label_report
    from .phenotypes.leiden_sweep import leiden_sweep
    from .phenotypes.marker_positivity import marker_positivity
    from .phenotypes.name_clusters import name_clusters
    from .phenotypes.pixie import pixie
    from .phenotypes.propose_types import propose_types
    from .phenotypes.suggest_labels import suggest_labels
    from .phenotypes.transfer_labels import transfer_labels
    from .regions.detect_artifacts import detect_artifacts
    from .regions.paint_tiles import paint_tiles
    from .regions.segment_regions import segment_regions
    from .regions.tile_labels import tile_labels
    from .regions.tissue_clusters import tissue_clusters
    from .retrieval.search import Index, build_index, search
    from .retrieval.search_samples import search_samples
    from .samples.classify_samples import classify_samples
    from .samples.compare_composition import compare_composition
    from .samples.composition import composition
    from .samples.distribution_shift import distribution_shift
    from .samples.embed_samples import embed_samples
    from .samples.few_shot_samples import few_shot_samples
    from .samples.mil import mil
    from .samples.predict_bags import predict_bags
    from .signatures.discover_signatures import discover_signatures
    from .signatures.score_signatures import score_signatures
    from .signatures.transfer_signatures import transfer_signatures
    from .survival.added_value import added_value
    from .survival.compare_concordance import compare_concordance
    from .survival.concordance import concordance
    from .survival.cox import cox
    from .survival.cumulative_incidence import cumulative_incidence
    from .survival.cut_point import cut_point
    from .survival.fine_gray import fine_gray
    from .survival.kaplan_meier import kaplan_meier
    from .survival.logrank import logrank
    from .survival.predict_survival import predict_survival
    from .survival.rmst import rmst
    from .survival.survival_models import coxnet, survival_forest
