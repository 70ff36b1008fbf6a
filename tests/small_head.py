"""A small segmentation head of VirTues' architecture, trained with its encoder on simulated images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from scipy.ndimage import distance_transform_edt, find_objects
from torch.nn import functional as F

import spatialfm as sfm
from spatialfm.embed.call import request_of
from spatialfm.embed.inputs import prepare_inputs
from spatialfm.models.encoder import Weights
from spatialfm.models.virtues_segmenter import HEAD_FILE, PHENOTYPES, HeadShape, SegmentationHead, VirTuesSegmenter
from spatialfm.pp.elements import match_elements

SHAPE = HeadShape(dim=64, skip=(64, 32), bottom=64, widths=(48, 32, 24), phenotypes=0)
WINDOW, CROP, SEEDS = 128, 32, 40
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


def depth_of(labels: np.ndarray) -> np.ndarray:
    """Distance of each pixel to the outside of its cell, over the largest of the cell; 0 outside."""
    out = np.zeros(labels.shape, np.float32)
    for number, box in enumerate(find_objects(labels), 1):
        if box is not None:
            inside = np.pad(labels[box] == number, 1)
            distance = distance_transform_edt(inside)[1:-1, 1:-1]
            out[box] += (distance / distance.max()).astype(np.float32)
    return out


def embeddings_of(sdata) -> dict[str, np.ndarray]:
    """A vector for each marker, as large as those of ESM-2; the stain of DNA has that of histone H3."""
    names = next(iter(sdata.images.values())).coords["c"].values
    rng = np.random.default_rng(0)
    return {str(name): rng.normal(0, 0.1, 640).astype(np.float32) for name in names if name != "DAPI"}


def training_data(sdata, encoder):
    """Of each sample: standardised pixels, labels, depth, type of each pixel; and the protein embeddings."""
    pairs = match_elements(sdata, None, {}, need_labels=False)
    panel = {"embeddings": embeddings_of(sdata)}
    inputs = prepare_inputs(sdata, pairs, encoder, request_of(encoder, panel=panel, cells=False))
    mean, std = (torch.tensor(part, dtype=torch.float32) for part in (inputs.mean, inputs.std))
    truth, data = sdata["truth"].obs, []
    for pair, reader in zip(pairs, inputs.readers, strict=True):
        height, width = reader.shape
        pixels = torch.from_numpy(reader.pixels(0, height, 0, width))[None]
        seen = encoder.normalize(pixels, mean, std, recipe=inputs.request.recipe)[0]
        labels = sdata[f"true_cells_{pair.sample}"].values.astype(np.int64)
        own = truth[truth["sample"] == pair.sample]
        kinds = np.zeros(labels.max() + 1, np.int64)
        kinds[own["cell_id"]] = own["type"].cat.codes + 1
        arrays = (labels, depth_of(labels), kinds[labels])
        data.append((seen, *(torch.from_numpy(array) for array in arrays)))
    return data, torch.as_tensor(inputs.markers)


def loss_of(segmenter, pixels, markers, labels, depth, kinds, generator):
    """Depth as a distance, pixels of a cell's square as a yes or no, phenotypes by cross-entropy."""
    out = segmenter(pixels, markers)
    n = segmenter.objects
    total = F.l1_loss(out[:, n - 1], (depth - 0.5) * 15) / 2
    total = total + F.cross_entropy(out[:, n:], kinds)
    offsets = (torch.sigmoid(out[:, :2]) - 0.5) * 8
    inside = torch.arange(CROP)
    for number in range(len(out)):
        deep = (depth[number] > 0.6).nonzero()
        seeds = deep[torch.randperm(len(deep), generator=generator)[:SEEDS]]
        start = (seeds - CROP // 2).clamp(0, WINDOW - CROP)
        y, x = (start[:, 0, None] + inside)[:, :, None], (start[:, 1, None] + inside)[:, None, :]
        apart = offsets[number][:, y, x] - offsets[number][:, seeds[:, 0], seeds[:, 1]].detach()[:, :, None, None]
        away = torch.stack(torch.broadcast_tensors(x - seeds[:, 1, None, None], y - seeds[:, 0, None, None]))
        features = torch.cat([apart + 0.25 * WINDOW / (WINDOW - 1) * away, out[number, 2 : n - 1][:, y, x]])
        logit = segmenter.head.pixel_classifier(features.movedim(0, -1))[..., 0]
        target = labels[number][y, x] == labels[number][seeds[:, 0], seeds[:, 1]][:, None, None]
        total = total + 2 * F.binary_cross_entropy_with_logits(logit, target.float()) / len(out)
    return total


def train_head(sdata, folder: Path, steps: int, *, batch: int = 2, rate: float = 2e-3) -> list[str]:
    """Write a folder as a published set is one; the names of the head's phenotypes."""
    names = ["None", *sdata["truth"].obs["type"].cat.categories]
    encoder = sfm.models.new_encoder("virtues", dim=64, depth=4, heads=4, decoder_depth=1, nuclear="histone")
    data, markers = training_data(sdata, encoder)
    generator = torch.Generator().manual_seed(0)
    head = SegmentationHead(HeadShape(**{**vars(SHAPE), "phenotypes": len(names)}))
    seed_everything(head, generator)
    segmenter = VirTuesSegmenter(encoder, head, Weights("trained here"), names).train().requires_grad_(True)
    optimiser = torch.optim.AdamW(segmenter.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.15)
    for _ in range(steps):
        parts = []
        for _ in range(batch):
            arrays = data[int(torch.randint(len(data), (1,), generator=generator))]
            y, x = (int(torch.randint(size - WINDOW + 1, (1,), generator=generator)) for size in arrays[1].shape)
            turns = int(torch.randint(4, (1,), generator=generator))
            parts.append([torch.rot90(a[..., y : y + WINDOW, x : x + WINDOW], turns, (-2, -1)) for a in arrays])
        pixels, labels, depth, kinds = (torch.stack(column) for column in zip(*parts, strict=True))
        optimiser.zero_grad()
        loss = loss_of(segmenter, pixels, markers, labels, depth, kinds, generator)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(segmenter.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    segmenter.eval().requires_grad_(False)
    sfm.models.save_trained(encoder, folder)
    save_file({name: tensor.contiguous() for name, tensor in head.state_dict().items()}, folder / HEAD_FILE)
    return names
