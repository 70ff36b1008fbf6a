"""Fine-tuning on ten labelled patients, beside the same model as it is, on simulated tissue as hard as real.

    python benchmarks/finetune.py

A small VirTues is pretrained on the images alone (masked autoencoder), then adapted to cell types. Cells of fifteen
patients are labelled by the true cell that most of their pixels belong to. In each of three folds ten patients are
trained on, of whom two are held out to stop on, and five are tested: `sfm.tl.evaluate_annotation` trains anew in each
fold, and scores the same probe on mean intensity, on the model as it is, and on the model with LoRA. One core takes
some minutes.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import _harness
import pandas as pd

import spatialfm as sfm
from spatialfm._demo import true_rows

N_PATIENTS, IMAGE_SIZE = 15, 192
RECIPE = {"mode": "crop", "window": 16, "background": "zero"}  # each cell by itself, at 1 µm per pixel
MARKERS = [
    "CD3",
    "CD4",
    "CD8",
    "FOXP3",
    "CD20",
    "CD68",
    "Cytokeratin",
    "aSMA",
    "Ki67",
    "PD1",
]  # with embeddings shipped
SHAPE = {"dim": 64, "depth": 4, "heads": 4, "hidden": 128, "decoder_depth": 1}


def main() -> None:
    parser = _harness.parser(__doc__)
    parser.add_argument("--pretrain", type=int, default=200, help="steps of pretraining")
    parser.add_argument("--steps", type=int, default=400, help="steps of fine-tuning, at most")
    args = parser.parse_args()
    _harness.quiet()
    sdata = cohort()
    with tempfile.TemporaryDirectory() as folder:
        sfm.settings.cache_dir = Path(folder)
        base = pretrained(sdata, Path(folder) / "base", args.pretrain)
        adata = embedded(sdata, base)
        tuning = sfm.train.FineTuning(
            sdata,
            "virtues",
            weights=base,
            markers=MARKERS,
            recipe=RECIPE,
            steps=args.steps,
            batch_size=64,
            learning_rate=3e-3,
            check_every=50,
            workers=0,
        )
        started = time.perf_counter()
        rep = {
            "VirTues, fine-tuned (LoRA)": tuning,
            "VirTues, as it is": "X_virtues",
            "mean intensity": "X_mean_intensity",
        }
        scores = sfm.tl.evaluate_annotation(adata, "type", use_rep=rep, n_folds=3, C=0.01, random_state=0)
        seconds = (time.perf_counter() - started) / 3
    report(adata, scores, list(rep))
    print(f"\n{adata.obs['type'].notna().sum()} labelled cells; {seconds:.0f} s a fold")
    _harness.finish(args)


def cohort():
    """Images, cell table, and the type of the true cell that most pixels of each cell belong to."""
    sdata = sfm.datasets.simulate_cohort(
        N_PATIENTS, n_samples=1, image_size=IMAGE_SIZE, difficulty="real", random_state=0
    )
    sfm.pp.cell_table(sdata)
    sdata["table"].obs["type"] = true_rows(sdata, sdata["table"])["type"].astype(object)
    return sdata


def pretrained(sdata, folder: Path, steps: int) -> Path:
    """A folder with a small VirTues that has seen the images, and no label."""
    windows = {"size": 64, "crop": 32, "panel": {"markers": MARKERS}}
    sfm.train.pretrain(
        sdata, "virtues", out=folder, shape=SHAPE, windows=windows, steps=steps, batch_size=16, workers=0,
        check_every=steps, options={"learning_rate": 1e-3},
    )  # fmt: skip
    return folder


def embedded(sdata, base: Path):
    """Cells with the embeddings of the model as it is, and their mean intensities."""
    adata = sfm.tl.embed_cells(sdata, "virtues", weights=base, markers=MARKERS, recipe=RECIPE, copy=True)
    adata.obsm["X_mean_intensity"] = sfm.tl.embed_cells(sdata, "mean-intensity", copy=True).obsm["X_mean_intensity"]
    return adata


def report(adata, scores: pd.DataFrame, names: list[str]) -> None:
    """Scores, and differences to the model as it is."""
    paired = adata.uns["annotation"]["differences"]
    frozen = names[1]
    _harness.head("representation", "macro F1", "95 % interval", "balanced accuracy", f"F1 less that of {frozen}", "p")
    for name in names:
        f1, recall = (
            scores[(scores["use_rep"] == name) & (scores["score"] == score)].iloc[0] for score in ("f1", "recall")
        )
        cells = [name, f"{f1['mean']:.3f}", _harness.interval(f1["low"], f1["high"]), f"{recall['mean']:.3f}", "", ""]
        if name != frozen and (found := _harness.less(paired, name, frozen)):
            cells[4] = f"{found['difference']:+.3f} ({_harness.interval(found['low'], found['high'])})"
            cells[5] = _harness.p_text(found["p_value"])
        _harness.row(*cells)


if __name__ == "__main__":
    main()
