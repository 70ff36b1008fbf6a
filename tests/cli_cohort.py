"""A small cohort in files whose cells and outcome are known: what commands are run on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

CHANNELS = ["DAPI", "CD3", "CD20", "Cytokeratin"]
TYPES = {"CD3": "T", "CD20": "B", "Cytokeratin": "Tumor"}
SIGNATURES = {"T": ["CD3"], "B": ["CD20"], "Tumor": ["Cytokeratin"]}
SIDE, CELL, GAP = 6, 5, 2  # cells in a row, pixels of a cell, pixels to the border
PIXELS = SIDE * (CELL + GAP) + GAP


def write_cohort(folder: Path, n_patients: int = 8, *, masks: bool = True) -> pd.DataFrame:
    """Write images, masks and ``cohort.csv``; the true type of each cell is returned.

    Cells are squares of which one marker is bright. Patients of even number have mostly tumor, and die early.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows, truth = [], []
    for number in range(n_patients):
        sample, much = f"S{number}", number % 2 == 0
        share = (0.15, 0.15, 0.7) if much else (0.45, 0.4, 0.15)
        image = rng.normal(20, 1, (len(CHANNELS), PIXELS, PIXELS))
        mask = np.zeros((PIXELS, PIXELS), np.uint16)
        for cell in range(SIDE * SIDE):
            y, x = (GAP + (CELL + GAP) * place for place in divmod(cell, SIDE))
            marker = rng.choice(3, p=share) + 1
            here = np.s_[y : y + CELL, x : x + CELL]
            image[(0, *here)] += 100
            image[(marker, *here)] += rng.normal(200, 10)
            mask[here] = cell + 1
            truth.append((sample, cell + 1, TYPES[CHANNELS[marker]]))
        metadata = {"axes": "CYX", "PhysicalSizeX": 1.0, "PhysicalSizeY": 1.0, "Channel": {"Name": CHANNELS}}
        tifffile.imwrite(
            folder / f"{sample}.ome.tif", image.astype(np.float32), photometric="minisblack", metadata=metadata
        )
        row = {"sample": sample, "patient": f"P{number}", "image": f"{sample}.ome.tif"}
        if masks:
            tifffile.imwrite(folder / f"{sample}_mask.tif", mask)
            row["labels"] = f"{sample}_mask.tif"
        rows.append(
            row | {"age": 50 + number, "months": (3 if much else 30) + number, "died": "yes" if number < 6 else "no"}
        )
    pd.DataFrame(rows).to_csv(folder / "cohort.csv", index=False)
    return pd.DataFrame(truth, columns=["sample", "cell_id", "type"])


SETTINGS = """\
cohort: cohort.csv
out: results
embed:
  model: mean-intensity
phenotype:
  signatures: {T: [CD3], B: [CD20], Tumor: [Cytokeratin]}
niches:
  n_niches: 2
survival:
  time_key: months
  event_key: died
  event_value: yes
"""
