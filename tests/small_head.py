"""A small segmentation head of VirTues' architecture, with its encoder, that nobody trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

import spatialfm as sfm
from spatialfm.models.virtues_segmenter import HEAD_FILE, PHENOTYPES, HeadShape, SegmentationHead

SHAPE = HeadShape(dim=64, skip=(64, 32), bottom=64, widths=(48, 32, 24), phenotypes=0)
CLASSIFIER = {  # a pixel is of a seed's cell if its offsets are less than one unit from the seed's
    "fc1.weight": [[1, 0, 0, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [0, -1, 0, 0], [0, 0, 0, 0]],
    "fc2.weight": np.eye(5),
    "fc3.weight": [[-2, -2, -2, -2, 0]],
    "fc3.bias": [2],
}


def seed_everything(module, generator) -> None:
    """Weights from a seed of their own, whatever ran before: Kaiming's rule, as torch draws them."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, float(2 / np.prod(parameter.shape[1:])) ** 0.5, generator=generator)
            else:
                parameter.fill_(float(name.endswith("weight")))


def untrained_set(folder: Path) -> Path:
    """A folder as a published one, of an encoder and a head that nobody trained: cells are wherever it sees some."""
    encoder = sfm.models.new_encoder("virtues", dim=64, depth=4, heads=4, decoder_depth=1, nuclear="histone")
    sfm.models.save_trained(encoder, folder)
    head = SegmentationHead(HeadShape(**{**vars(SHAPE), "phenotypes": len(PHENOTYPES)}))
    seed_everything(head, torch.Generator().manual_seed(1))
    tensors = dict(head.state_dict())
    for name in [name for name in tensors if name.startswith("pixel_classifier.")]:
        values = CLASSIFIER.get(name.removeprefix("pixel_classifier."))
        tensors[name] = torch.zeros_like(tensors[name])
        if values is not None:
            tensors[name] += torch.tensor(np.asarray(values))
    tensors["decoder.decoder.decoder0_header.2.weight"] = tensors["decoder.decoder.decoder0_header.2.weight"] * 0.1
    save_file(tensors, folder / HEAD_FILE)
    return folder
