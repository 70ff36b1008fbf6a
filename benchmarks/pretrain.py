"""Pretraining on one core: what a small VirTues and a small KRONOS learn in minutes.

    python benchmarks/pretrain.py virtues kronos --data <folder with the image sets> --minutes 20 --out <folder>
    python benchmarks/pretrain.py kronos --steps 800 ... and virtues --steps 1200 ...

The images to train on are simulated cohorts of three technologies (a camera, a camera with its background subtracted,
counts of ions) with `difficulty="real"`, and the four sets of real images in the folder: breast (MIBI), lymphoma
(Opal), lymph node (CODEX), spleen (IMC). Strata are the sources: each is drawn as often as the others. VirTues is told
its markers by random vectors in place of protein embeddings, the same in training and in the test.

Encoders are judged on cohorts that are simulated anew, of other patients, which no training has seen: 24 patients,
eight of each technology, 40 cells of each with their true masks and types; types with fewer than 30 cells are left out.
A linear probe (C fixed at 1) predicts each cell from the other patients, in six folds, and the macro F1 is that of all
cells together, with intervals of draws of patients (`_pretrain_judge.py`): the encoder before and after, by one vector
for each cell and by one for each of its markers, mean intensities (their arcsinh) and `classical`. Cells are read as
`sfm.tl.embed_cells` does it by default, in windows of the size that training saw: VirTues' tokens of tiles, shared out
to the cells by pixels (tiles side by side, where the default overlaps: a ninth of the time); KRONOS' window around each
cell, its surroundings zero. VirTues is judged by such windows, too, which it was not trained with. `--seeds` trains
several times, from other weights and with other draws, and adds the mean of these trainings.

    python benchmarks/pretrain.py virtues --steps 400 --seeds 2 --patients 72 --first-seed 310 --vectors markers \
        --reading alone --data <folder> --out <folder>

asks on three times as many patients, whom nothing was chosen on, whether vectors of markers gain. What counts was said
before any of them was looked at: the mean of both trainings less that of their initial weights, each cell by itself.

    python benchmarks/pretrain.py virtues --summaries --steps 3000 --patients 72 --first-seed 330 --vectors one \
        --reading tiles --data <folder> --out <folder>

trains a VirTues of half the width by its summary tokens alone, and asks whether one vector gains.

Networks are as small as 20 minutes of two cores allow many steps: patches of 4 µm, so that a cell is some of them, and
windows of little more than a cell (16 and 20 µm).

What the loop costs beside the network is measured by `train.py loop`.
"""

from __future__ import annotations

import time
from pathlib import Path

import _harness
import numpy as np
import pandas as pd
import torch
from _labelled import SETS
from _pretrain_judge import Judged
from probe import stand_ins

import spatialfm as sfm
from spatialfm.train.checkpoint import Checkpoints

TECHNOLOGIES = ("camera", "subtracted", "ions")
REAL = ("dcis", "opal", "bnhl", "spleen")
TO_TRAIN, SIDE = 12, 256
SHAPES = {
    "virtues": {"dim": 64, "depth": 4, "heads": 4, "hidden": 128, "patch_size": 4, "decoder_depth": 1},
    "kronos": {"dim": 64, "depth": 4, "heads": 4, "patch_size": 8, "grid": 4, "registers": 4},
    "summaries": {"dim": 32, "depth": 4, "heads": 4, "hidden": 128, "patch_size": 4, "decoder_depth": 1},
}
NUCLEAR = ("DAPI", "Hoechst", "DNA", "DNA1", "DNA3", "Histone H3")
WINDOWS = {
    "virtues": {"size": 24, "crop": 16, "stride": 24, "strata": "source", "channels": "all"},
    "kronos": {"size": 48, "crop": 40, "stride": 48, "strata": "source", "nuclear": NUCLEAR},
}
OPTIONS = {
    "virtues": {"learning_rate": 2e-3, "mode": {"marker": 0.7, "independent": 0.3}, "error": "hidden"},
    "kronos": {"learning_rate": 2e-3, "momentum": 0.98, "n_local": 2, "prototypes": 512, "hidden": 128,
               "bottleneck": 32, "layer_decay": 1.0, "patch_embed_scale": 1.0, "drop_path": 0.0,
               "last_weight_decay": 0.04},
    "summaries": {"learning_rate": 2e-3, "ratio": (0.001, 0.5), "summary_only": 0.95},
}  # fmt: skip
ALONE = {"mode": "crop", "window": 16, "background": "zero"}
READINGS = {  # of cells, in windows of the size that training saw
    "virtues": {"tiles": {"window": 16, "stride": 16, "padding": 0}, "alone": ALONE},
    "kronos": {"alone": {"window": 32}},
}
OUTPUTS = {"patch": "one vector", "marker": "a vector for each marker"}  # of a cell
BATCH = 32
CELLS = 40  # of each patient, at most
VECTORS = {"all": tuple(OUTPUTS), "one": ("patch",), "markers": ("marker",)}
BEFORE, AFTER = "before (initial weights)", "after training"


def simulated(technology: str, n: int, seed: int):
    """Images with true masks as ``cells_<sample>``, and the cells of these with their true type."""
    sdata = sfm.datasets.simulate_cohort(
        n, n_samples=1, image_size=SIDE, random_state=seed, difficulty="real", detector=technology
    )
    for name in [one for one in sdata.labels if one.startswith("true_cells_")]:
        sdata.labels[name.removeprefix("true_")] = sdata.labels.pop(name)
    sdata.tables.pop("table", None)
    truth = sdata["truth"].obs
    sfm.pp.cell_table(sdata)
    key = truth["sample"].astype(str) + "_" + truth["cell_id"].astype(str)
    cells = sdata["table"].obs
    cells["type"] = pd.Series(truth["type"].astype(str).to_numpy(), index=key).reindex(cells.index).to_numpy()
    cells["patient"] = (technology + " " + cells["sample"].astype(str).str.split("_").str[0]).to_numpy()
    return sdata


def to_train_on(data: Path | None) -> list:
    """One source for each technology and set."""
    sources = [simulated(name, TO_TRAIN, seed) for seed, name in enumerate(TECHNOLOGIES)]
    return sources + ([] if data is None else [SETS[name](data).sdata for name in REAL])


def panel_of(model: str, sources: list) -> dict:
    """Which channels are which markers; for VirTues with a random vector for each."""
    if model == "kronos":
        return {"on_unknown": "keep", "nuisance": "keep"}
    channels = {str(one) for sdata in sources for image in sdata.images.values() for one in image.coords["c"].values}
    return {"on_unknown": "drop", "embeddings": stand_ins(sorted(channels))}


def spread(obs: pd.DataFrame) -> np.ndarray:
    """Rows of `CELLS` cells of each patient, drawn at random."""
    rng = np.random.default_rng(0)
    places = np.arange(len(obs))
    groups = [places[(obs["patient"] == name).to_numpy()] for name in sorted(obs["patient"].unique())]
    return np.sort(np.concatenate([rng.permutation(one)[:CELLS] for one in groups]))


def brightest(sdata) -> dict[str, float]:
    """Largest value of each image, which becomes 1: the pixels of different instruments have no common unit."""
    return {name.removeprefix("image_"): float(image.max()) for name, image in sdata.images.items()}


def windows_of(model: str, sources: list, cache: Path) -> dict:
    """Arguments of `Windows`."""
    recipe = {}
    if model == "kronos":
        for place, sdata in enumerate(sources):
            several = place < len(TECHNOLOGIES) and len(sources) > 1  # whose samples have the same names
            recipe |= {f"sources[{place}]/{name}" if several else name: top for name, top in brightest(sdata).items()}
        recipe = {"recipe": {"intensity_max": recipe}}
    return WINDOWS[model] | recipe | {"cache": cache, "panel": panel_of(model, sources)}


def embedded(model: str, panel: dict, encoders: dict, args) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Representations of cells of new patients by name, and type and patient of these cells."""
    parts, cells, outputs = [], [], VECTORS[args.vectors]
    suffix = f"_{outputs[0]}" if len(outputs) == 1 else ""  # several outputs have theirs from `embed_cells`
    for seed, technology in enumerate(TECHNOLOGIES):
        sdata = simulated(technology, args.patients // len(TECHNOLOGIES), args.first_seed + seed)
        sfm.tl.embed_cells(sdata, "classical")
        sdata.tables["table"] = sdata["table"][spread(sdata["table"].obs)].copy()
        for name, encoder in encoders.items():
            for reading, recipe in readings(model, args).items():
                pixels = {} if model == "virtues" else {"intensity_max": brightest(sdata)}
                sfm.tl.embed_cells(
                    sdata, encoder, key_added=f"X_{name}_{reading}{suffix}", outputs=outputs, panel=panel,
                    recipe=recipe | pixels, on_missing="drop",
                )  # fmt: skip
        table = sdata["table"]
        features = sfm.get.features(table, "X_classical")
        found = {"classical": features.to_numpy(), "mean": features.filter(regex="_mean$").to_numpy()}
        keys = [f"{name}_{one}" for name in encoders for one in readouts(model, args)]
        found |= {key: np.asarray(table.obsm[f"X_{key}"]) for key in keys}
        parts.append(found)
        cells.append(table.obs[["type", "patient"]])
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}, pd.concat(cells)


def readings(model: str, args) -> dict[str, dict]:
    """Ways to read a cell that were asked for."""
    return {name: recipe for name, recipe in READINGS[model].items() if args.reading in ("all", name)}


def readouts(model: str, args) -> list[str]:
    """``tiles_patch``: reading and output."""
    return [f"{reading}_{one}" for reading in readings(model, args) for one in VECTORS[args.vectors]]


def rows_of(model: str, args) -> dict[str, tuple[str, str]]:
    """What is judged, with the seed of a training to be filled in: its name, and what it is subtracted from."""
    rows = {}
    for one in readouts(model, args):
        reading, output = one.split("_")
        named = f"{OUTPUTS[output]}{', cell by itself' if model == 'virtues' and reading == 'alone' else ''}"
        rows[f"after_{{}}_{one}"] = (f"{AFTER}, {named}", "")
        rows[f"before_{{}}_{one}"] = (f"{BEFORE}, {named}", f"after_{{}}_{one}")
    best = f"after_{{}}_{readouts(model, args)[:2][-1]}"  # by default vectors of markers, in the first reading
    return rows | {"mean": ("mean intensity, arcsinh", best), "classical": ("classical", best)}


def trained(model: str, sources: list, seed: int, args):
    """The encoder before and after training, and a sentence on the run."""
    setting = "summaries" if args.summaries else model
    out, used = args.out / f"{setting}-{seed}", time.process_time()
    before_call = Checkpoints(out / "checkpoints").newest() or 0
    after = sfm.train.pretrain(
        sources,
        model,
        out=out,
        shape=SHAPES[setting],
        windows=windows_of(model, sources, args.out / f"{model}-cache"),
        options=OPTIONS[setting],
        minutes=None if args.steps else args.minutes,
        steps=args.steps,
        batch_size=BATCH,
        check_every=250,
        workers=0,
        license="CC0-1.0",
        random_state=seed,
    )
    processor, steps = time.process_time() - used, pd.read_csv(out / "losses.csv")
    before = sfm.models.new_encoder(model, random_state=seed, **SHAPES[setting]).eval().requires_grad_(False)
    before.vocabulary = after.vocabulary
    loss = steps["loss"]
    return before, after, (
        f"\nseed {seed}: {len(steps):,} steps of {BATCH} windows, {minutes_of(len(steps), before_call, processor)}; "
        f"loss {loss.iloc[:20].mean():.3f} at first, {loss.iloc[-20:].mean():.3f} at last"
    )  # fmt: skip


def minutes_of(n_steps: int, n_before: int, processor: float) -> str:
    """Processor time in words; of a run that went on, that of the calls before is not known, and is not told."""
    whole = f"{processor / 60:.1f} minutes of processor time of {torch.get_num_threads()} thread(s)"
    if not n_before:
        return whole
    if n_before == n_steps:
        return "trained by an earlier call, whose time is not known"
    return f"{whole} for the last {n_steps - n_before:,} of them; the others are of an earlier call"


def pretrained(model: str, args) -> None:
    """Train, judge, and print the table."""
    sources = to_train_on(args.data)
    encoders, told = {}, []
    for seed in range(args.seeds):
        encoders[f"before_{seed}"], encoders[f"after_{seed}"], sentence = trained(model, sources, seed, args)
        told.append(sentence)
    representations, cells = embedded(model, panel_of(model, sources), encoders, args)
    judged = Judged(representations, cells["type"].to_numpy(object), cells["patient"].to_numpy(object))
    vectors = "summaries" if args.summaries else args.vectors
    _harness.part(model if vectors == "all" else f"{model}-{vectors}")
    _harness.head("cells as", "seed", "macro F1", "95 % interval", "after training less this one (interval)")
    rows, seeds = rows_of(model, args), [str(seed) for seed in range(args.seeds)]
    if args.seeds > 1:
        for key in rows:
            judged.add_mean(key.format("mean"), [key.format(seed) for seed in seeds])
        seeds.append("mean")
    for seed in seeds:
        for key, (name, than) in rows.items():
            f1, *ends = judged.score(key.format(seed))
            _harness.row(name, seed, f"{f1:.3f}", _harness.interval(*ends, 3), difference(judged, key, than, seed))
    print("\n".join(told), f"\n{len(judged.names)} cells of {len(np.unique(judged.patients))} patients are judged:",
          ", ".join(f"{n} {name}" for name, n in pd.Series(judged.names).value_counts().items()))  # fmt: skip


def difference(judged: Judged, key: str, than: str, seed: str) -> str:
    """``0.05 (0.03 to 0.07)``, of the trained encoder less another representation; nothing for itself."""
    if not than:
        return ""
    less, *ends = judged.less(than.format(seed), key.format(seed))
    return f"{less:.3f} ({_harness.interval(*ends, 3)})"


def main() -> None:
    parser = _harness.parser(__doc__)
    parser.add_argument("parts", nargs="+", choices=list(READINGS))
    parser.add_argument("--data", type=Path, help="folder with the image sets")
    parser.add_argument("--minutes", type=float, default=20.0, help="of training, for each model")
    parser.add_argument("--steps", type=int, help="of training instead of minutes: the same on any machine")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each model")
    parser.add_argument("--patients", type=int, default=24, help="to judge on, a third of each technology")
    parser.add_argument("--first-seed", type=int, default=200, help="of the three cohorts to judge on")
    parser.add_argument("--vectors", choices=list(VECTORS), default="all", help="of cells, which are judged")
    parser.add_argument("--reading", choices=["all", "tiles", "alone"], default="all", help="of cells of VirTues")
    parser.add_argument("--summaries", action="store_true", help="train a narrow VirTues by its summary tokens alone")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    args = parser.parse_args()
    if unread := [model for model in args.parts if not readings(model, args)]:
        ways = ", ".join(READINGS[unread[0]])
        parser.error(f"--reading {args.reading} is not a way to read {unread[0]}, which has {ways}")
    if args.summaries and args.parts != ["virtues"]:
        parser.error("--summaries is for virtues alone")
    _harness.quiet()
    sfm.settings.offline = True  # markers whose protein embedding does not come with the package are left out
    args.out.mkdir(parents=True, exist_ok=True)
    for part in args.parts:
        pretrained(part, args)
    _harness.finish(args)


if __name__ == "__main__":
    main()
