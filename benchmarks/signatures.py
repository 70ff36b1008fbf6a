"""What the scores of `discover_signatures` are worth: cohorts without any effect, and with a planted one.

    python benchmarks/signatures.py [--cohorts 200] [--planted 40] [--figure docs/_static/signatures.png]

Prints means and calibration of the p-values, and draws the figure of docs/scores.md. Cohorts are simulated
(`sfm.datasets.simulate_cells`), each with its own seed; nothing is measured on the clock. With `--rows` the scores of
all cohorts are kept in a file, and a second call only draws.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import _harness
import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy import stats

import spatialfm as sfm

NAMES = {"published": "as published (optimistic)", "nested": "nested"}


def cohort(seed: int, n_patients: int, effect_size: float, n_permutations: int) -> dict[str, float]:
    """Scores of one cohort, and whether a signature is the planted phenotype (Jaccard index of the cells)."""
    sfm.settings.progress, sfm.settings.verbosity = False, 0
    warnings.simplefilter("ignore")
    cells = sfm.datasets.simulate_cells(
        n_patients, cells_per_patient=80, effect_of="CD8 T", effect_size=effect_size, random_state=1000 + seed
    )
    sfm.tl.discover_signatures(
        cells,
        use_rep="X_latent",
        outcome="response",
        positive="responder",
        resolutions=[1.0, 2.0, 3.0],
        max_cells=None,
        n_permutations=n_permutations,
        random_state=seed,
    )
    scores = cells.uns["signatures"]["scores"]
    planted = (cells.obs["type"] == "CD8 T").to_numpy()
    members = cells.obsm["signatures"].to_numpy()
    jaccard = [(planted & m).sum() / (planted | m).sum() for m in members.T]
    row = {"seed": seed, "jaccard": max(jaccard, default=0.0)}
    for short, name in NAMES.items():
        row[short], row[f"p_{short}"] = scores.loc[name, "score"], scores.loc[name, "p_value"]
    return row


def figure(null: pd.DataFrame, planted: pd.DataFrame, path: Path) -> None:
    import matplotlib.pyplot as plt

    orange, blue = "#D55E00", "#0072B2"
    fig, axes = plt.subplots(1, 3, figsize=(10.5, 3.4), layout="constrained")
    bins = np.arange(0.1, 1.001, 0.04)
    for ax, table, title in ((axes[0], null, "nothing planted"), (axes[1], planted, "CD8 T cells protect")):
        for short, color, hatch in (("published", orange, "///"), ("nested", blue, None)):
            ax.hist(table[short], bins, color=color, alpha=0.55, hatch=hatch, edgecolor="white", label=NAMES[short])
            ax.axvline(table[short].mean(), color=color, lw=1.5)
        ax.axvline(0.5, color="0.4", lw=0.8, ls="--")
        ax.set(xlabel="AUROC", ylabel="Cohorts", title=f"{len(table)} cohorts, {title}")
    for short, color, style in (("published", orange, "--"), ("nested", blue, "-")):
        p = np.sort(null[f"p_{short}"])
        axes[2].plot(
            p, (np.arange(len(p)) + 1) / len(p), color=color, ls=style, drawstyle="steps-post", label=NAMES[short]
        )
    axes[2].plot([0, 1], [0, 1], color="0.4", lw=0.8, ls=":")
    axes[2].set(xlabel="Permutation p-value", ylabel="Share of cohorts at or below", title="nothing planted")
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.title.set_fontsize("medium")
    fig.legend(
        *axes[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=2, fontsize="small"
    )
    fig.savefig(path, dpi=150)


def main() -> None:
    parser = _harness.parser(__doc__)
    parser.add_argument("--cohorts", type=int, default=200)
    parser.add_argument("--planted", type=int, default=40)
    parser.add_argument("--patients", type=int, default=40)
    parser.add_argument("--permutations", type=int, default=99)
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes; the figures mean little")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--rows", type=Path, help="CSV file of all cohorts, written where it is not there")
    args = parser.parse_args()
    if args.quick:
        args.cohorts, args.planted, args.permutations = 3, 2, 9
    if args.rows is not None and args.rows.exists():
        rows = pd.read_csv(args.rows)
    else:
        todo = [(0.0, seed) for seed in range(args.cohorts)] + [(2.0, seed) for seed in range(args.planted)]
        work = Parallel(n_jobs=2)(
            delayed(cohort)(seed, args.patients, effect, args.permutations) for effect, seed in todo
        )
        rows = pd.DataFrame(work).assign(effect=[effect for effect, _ in todo])
        if args.rows is not None:
            rows.to_csv(args.rows, index=False)
    null, planted = (rows[rows["effect"] == effect] for effect in (0.0, 2.0))
    print(f"{args.patients} patients a cohort, {args.permutations} shuffles\n")
    _harness.head("cohorts", "score", "mean", "sd", "p ≤ 0.05", "Kolmogorov-Smirnov p", "planted phenotype found")
    for what, table in ((f"{len(null)} without effect", null), (f"{len(planted)} with effect", planted)):
        for short, name in NAMES.items():
            p = table[f"p_{short}"]
            # p-values are hundredths: the middle of each is compared
            uniform = (
                f"{stats.kstest(p - 0.5 / (args.permutations + 1), 'uniform').pvalue:.2f}" if table is null else ""
            )
            found = f"{(table['jaccard'] > 0.5).mean():.2f}" if table is planted and short == "nested" else ""
            row = (what, name, f"{table[short].mean():.3f}", f"{table[short].std():.3f}", f"{(p <= 0.05).mean():.3f}")
            _harness.row(*row, uniform, found)
    _harness.finish(args)
    if args.figure:
        figure(null, planted, args.figure)


if __name__ == "__main__":
    main()
