"""``sfm.train.Windows``: windows of tissue, read lazily, as a data set of torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from .._errors import RunError, SpatialfmError, counted
from .._identity import fingerprint
from .._keys import PATIENT_KEY
from .._public import public
from .._types import is_short
from ..embed.call import CALL_FIELDS, Elements, Panel, image_elements, request_of
from ..embed.pixels.published import read_statistics
from ..embed.pixels.reader import SampleReader
from ..models.encoder import Encoder, normalized
from ..models.recipe import Recipe
from ..models.trained import new_encoder
from .augment import NOTHING, Augment, augment_of, disturbed, oriented, scaled
from .batch import WindowSample, random_of
from .channels import Draw, draw_channels
from .corpus import Image, Wishes, open_corpus
from .kept import keep_windows
from .layout import (
    BY_VOCABULARY,
    WindowSettings,
    check_images,
    check_settings,
    enumerated,
    large_enough,
    strata_of,
    text_of,
)
from .pack import Kind, Pack
from .sources import Source, open_sources
from .split import check_patients, held_out_patients
from .standards import Standard, marker_metadata, moments_of, sets_of, standards
from .workers import read_in_place, settle_worker


class Windows(Dataset):
    """Windows of tissue that an encoder is trained on, a map-style data set of torch.

    Windows lie on a grid over the tissue of each image, found once; pixels are read when a window is asked for, with
    the reader, the pixel size and the normalisation that an embedding by the model has (its `Recipe`). Images may have
    any panel each.

    KRONOS takes pixels from 0 to 1, standardised by mean and standard deviation of each marker over the tissue of the
    whole corpus (Online Methods). VirTues clips each channel at the 99th percentile of the tissue of its image, takes
    ``log(1 + x)``, standardises by mean and standard deviation of the data set, and blurs (as released).

    Parameters
    ----------
    sources
        SpatialData objects, paths of their stores, or folders of stores, one or several. What counts as a data set is
        one item; all stores of a folder are one.
    model
        Encoder, or name of one: decides pixel size, normalisation, and what markers are given as.
    size
        Side of a window in pixels of the model. Images that are smaller are left out, with a warning that names them.
    crop
        Side of the part of a window that a step sees, at a random place. None: all of it. KRONOS was trained on 224 of
        256 pixels, VirTues on 128.
    stride
        Distance of one window to the next. Default: `size`. The last row and column end at the image's edge.
    min_tissue
        Share of a window that must be tissue.
    strata
        Columns of the samples, or ``"source"``: a step draws one of the combinations of their values uniformly, then
        one of its windows uniformly (KRONOS: tissue and technology). Default: all windows once an epoch.
    channels
        Channels that a step sees. ``"all"``; ``"nuclear"``, a stain of nuclei and two others (KRONOS); ``"share"``,
        a random 75 to 100 % of them (VirTues, as released); ``"hierarchical"``, first how many, then which
        (ChannelViT). Default: as published with the model; ``"all"`` for models that do not know markers.
    nuclear
        Markers that are stains of nuclei. Default: those that are known as such.
    augment
        How windows are changed at random, see `Augment`; False: not at all.
    patient_key
        Column of the samples that names patients. One name is one patient, in any source.
    dataset_key
        Column of the samples that names the data set whose statistics an image is standardised with. Default: those
        of its source for VirTues, of the whole corpus for KRONOS.
    samples
        Samples to use (default: all).
    panel
        Which channels are which markers, see `spatialfm.Panel`. Channels that are not known markers, and markers
        without protein embedding where the model takes these, are refused unless ``on_unknown`` is ``"drop"``.
    recipe
        Fields of the recipe to depart from: ``{"statistics": table}`` takes the means and standard deviations of a
        table of `spatialfm.pp.marker_statistics` instead of computing them.
    elements
        Images to use and their pixel sizes, see `spatialfm.Elements`.
    cache
        Folder into which the pixels of all windows are packed once, so that epochs do not decode images again; two
        bytes a pixel and channel. A call that was stopped goes on where it was; a folder that is damaged, or of other
        windows, is refused.
    cache_type
        ``"uint16"``: 65,536 steps between the smallest and largest value of each channel of a window; values of 8- and
        16-bit images that are neither resampled nor prepared are kept exactly. ``"float16"``: 11 bits of each value.

    Attributes
    ----------
    table
        One row per window: ``image`` (number), ``source``, ``sample``, ``patient``, ``y`` and ``x`` (first row and
        column in pixels of the model), ``tissue_share``, and a column per stratum.
    strata
        Numbers of the windows of each stratum, or None.

    Raises
    ------
    ModelError
        If sizes make no sense, all images are smaller than a window, or no window holds enough tissue.
    PanelError
        If channels are not known markers, markers have no protein embedding, or a stain of nuclei is missing.
    ClinicalError
        If samples have no value in a column that is named.
    InputFileError, RunError
        If a store or an image cannot be read; the message names it.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(2, n_samples=2, image_size=160, random_state=0, difficulty="easy")
    >>> windows = sfm.train.Windows(sdata, "kronos", size=64, crop=48)
    >>> len(windows), windows[0].pixels.shape
    (36, torch.Size([12, 64, 64]))
    >>> from spatialfm.train.batch import random_of
    >>> sample = windows.sample(5, random_of(seed=0, step=0, place=0, purpose=1))
    >>> sample.pixels.shape, sample.names[0]
    (torch.Size([3, 48, 48]), 'DAPI')
    """

    @public(fields=CALL_FIELDS)
    def __init__(
        self,
        sources: Source | Sequence[Source],
        model: str | Encoder = "virtues",
        *,
        size: int = 256,
        crop: int | None = 128,
        stride: int | None = None,
        min_tissue: float = 0.3,
        strata: str | Sequence[str] | None = None,
        channels: Draw | None = None,
        nuclear: str | Sequence[str] | None = None,
        augment: bool | Augment | Mapping[str, Any] = True,
        patient_key: str = PATIENT_KEY,
        dataset_key: str | None = None,
        samples: Sequence[str] | None = None,
        panel: Panel | Mapping[str, Any] | None = None,
        recipe: Recipe | Mapping[str, Any] | None = None,
        elements: Elements | Mapping[str, Any] | None = None,
        cache: str | os.PathLike[str] | None = None,
        cache_type: Kind = "uint16",
    ) -> None:
        encoder = new_encoder(model) if isinstance(model, str) else model
        request = request_of(
            encoder, panel=panel, recipe=recipe, elements=image_elements(elements, recipe), cells=False
        )
        self.settings = WindowSettings(
            encoder.card.name,
            request.recipe,
            size,
            crop,
            size if stride is None else stride,
            min_tissue,
            channels or BY_VOCABULARY.get(encoder.card.marker_vocabulary, "all"),
            augment_of(augment),
            tuple([strata] if isinstance(strata, str) else strata or ()),
            patient_key,
            dataset_key,
        )
        check_settings(self.settings, encoder)
        self.panel = request.panel
        wishes = Wishes(
            encoder,
            request.recipe,
            request.panel,
            request.elements,
            None if samples is None else tuple(samples),
            None if nuclear is None else tuple([nuclear] if isinstance(nuclear, str) else nuclear),
        )
        given = None
        if request.recipe.statistics_from == "given":
            given = read_statistics(request.recipe.statistics, encoder.card.name, request.recipe)
        images = large_enough(open_corpus(open_sources(sources), wishes, given), size)
        check_images(images, self.settings)
        self.table = enumerated(images, self.settings)
        self.images: list[Image] = images
        self._moments = moments_of(images, request.recipe)
        self._sets = sets_of(images, request.recipe, dataset_key)
        self._counts = [True] * len(images)
        self.standards = self._standards(self._counts)
        self.strata = strata_of(self.table, self.settings.strata)
        self._numbers = np.arange(len(self.table))  # of the windows among those that are packed
        self._places = _places(self.table)
        self._pack = None if cache is None else self._packed(cache, cache_type)

    def _packed(self, cache: str | os.PathLike[str], kind: Kind) -> Pack:
        """All windows in a folder, which is written, completed or opened."""
        places = {name: self.table[name].tolist() for name in ("image", "y", "x")}
        contents = {"images": self._images(), "windows": places, "size": self.settings.size}
        made_of = {name: fingerprint({name: value}) for name, value in contents.items()}
        pack = Pack(
            cache, [len(self.images[n].markers) for n in self.table["image"]], self.settings.size, made_of, kind
        )
        pack.write(self._whole, lambda index: _divisor(self.images[self.table["image"].iat[index]].reader))
        return pack

    def _whole(self, index: int) -> np.ndarray:
        number, top, left = self._places[index].tolist()
        image = self.images[number]
        return self._read(image, np.arange(len(image.markers)), (top, left, self.settings.size))

    def _standards(self, counts: Sequence[bool]) -> list[Standard]:
        return standards(self.images, self._moments, self._sets, counts, self.settings.model, self.settings.recipe)

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        n_images, n_sources = self.table["image"].nunique(), self.table["source"].nunique()
        return (
            f"{counted(len(self), 'window')} of {self.settings.size} px, {counted(n_images, 'image')}, "
            f"{counted(n_sources, 'source')}, {counted(len(self.markers), 'marker')}, for {self.settings.model}"
        )

    def __getitem__(self, index: int) -> WindowSample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        index %= len(self)
        return self.sample(index, random_of(0, 0, index, 1), crop=False, channels=False, augment=False)

    def sample(
        self, index: int, rng: np.random.Generator, *, crop: bool = True, channels: bool = True, augment: bool = True
    ) -> WindowSample:
        """One window as a step sees it.

        Parameters
        ----------
        index
            Number of the window.
        rng
            All that is random comes from it, in this order: place of the crop, channels, changes.
        crop
            Whether a part of the window is cut out; otherwise it is the whole.
        channels
            Whether channels are drawn; otherwise it has all.
        augment
            Whether it is changed at random.

        Raises
        ------
        RunError
            If it cannot be read; the message names the image and its path.
        """
        settle_worker()
        number, top, left = self._places[index].tolist()
        image, standard, settings = self.images[number], self.standards[number], self.settings
        side = settings.crop if crop and settings.crop is not None else settings.size
        down, right = rng.integers(settings.size - side + 1, size=2).tolist()
        chosen = draw_channels(settings.channels if channels else "all", len(image.markers), image.nuclear, rng)
        if self._pack is not None:
            pixels = self._pack.pixels(int(self._numbers[index]), chosen, down, right, side)
        else:
            pixels = self._read(image, chosen, (top + down, left + right, side))
        change = settings.augment if augment else NOTHING
        turned = np.ascontiguousarray(oriented(scaled(pixels, change, rng), change, rng))
        mean, std = standard.both[:, chosen]
        ready = disturbed(normalized(turned, mean, std, settings.recipe), change, rng)
        keys = None if image.keys is None else torch.from_numpy(image.keys[chosen])
        names = tuple(image.markers[place] for place in chosen)
        return WindowSample(torch.from_numpy(ready), keys, names, index, (image.source, image.sample, top, left))

    def _read(self, image: Image, chosen: np.ndarray, place: tuple[int, int, int]) -> np.ndarray:
        y, x, side = place
        reader, order = image.reader, chosen
        if isinstance(reader, SampleReader) and len(chosen) < len(image.markers):  # other channels are not decoded
            reader, order = reader.of_channels(chosen.tolist()), np.arange(len(chosen))
        with read_in_place():
            try:
                return reader.pixels(y, y + side, x, x + side)[order]
            except SpatialfmError as error:
                raise RunError(f"A window of image {image.name} (rows from {y}, columns from {x}): {error}") from error

    def split(self, validation: float | Sequence[str], random_state: int = 0) -> tuple[Windows, Windows]:
        """Windows to train on, and windows of other patients.

        Both are standardised by statistics of the images to train on alone.

        Parameters
        ----------
        validation
            Patients that are held out, or their share of all patients.
        random_state
            Decides which, where a share is asked for.

        Returns
        -------
        Windows to train on and windows held out; no patient is in both.

        Raises
        ------
        ClinicalError
            If there is one patient, samples have none, one is spelled in two ways, or a name is not that of a patient.
        """
        check_patients(self.table[PATIENT_KEY].unique(), self.settings.patient_key, 'sdata["samples"].obs')
        held_out = held_out_patients(self.table, self.settings.patient_key, validation, random_state)
        is_held_out = self.table[PATIENT_KEY].isin(held_out).to_numpy()
        patients = [text_of(image.columns.get(self.settings.patient_key)) for image in self.images]
        # of what is split already, images of the other side stay out
        sides = [
            [had and (patient in held_out) == side for had, patient in zip(self._counts, patients, strict=True)]
            for side in (False, True)
        ]
        standards = self._standards(sides[0])
        return self._of_rows(~is_held_out, standards, sides[0]), self._of_rows(is_held_out, standards, sides[1])

    def _of_rows(self, rows: np.ndarray, standards: list[Standard], counts: list[bool]) -> Windows:
        part = type(self).__new__(type(self))  # `copy` would go through bytes, and copy the pixels in memory too
        part.__dict__.update(self.__dict__)
        part.standards, part._counts = standards, counts
        part.table = self.table[rows].reset_index(drop=True)
        part._numbers = self._numbers[rows]
        part._places = self._places[rows]
        part.strata = strata_of(part.table, self.settings.strata)
        return part

    @property
    def markers(self) -> pd.DataFrame:
        """One row per marker: ``id``, ``mean``, ``std``, where these come ``from``, and in how many images it is.

        ``mean`` and ``std`` are NaN where data sets are standardised by statistics of their own.
        """
        seen = sorted(set(self.table["image"]))
        return marker_metadata([self.images[number] for number in seen], [self.standards[number] for number in seen])

    def fingerprint(self) -> str:
        """SHA-256 of all that decides what a step sees: pixels, windows, markers, statistics and settings."""
        return fingerprint(self.parts())

    def parts(self) -> dict[str, str]:
        """Digests of `fingerprint`'s parts, so that it can be said which one differs."""
        columns = ["image", "y", "x", PATIENT_KEY, *self.settings.strata]
        contents: dict[str, Any] = {
            "images": self._images(),
            "windows": {name: self.table[name].astype(str).tolist() for name in columns},
            "markers": [[list(one.markers), one.keys, list(one.nuclear)] for one in self.images],
            "statistics": [[one.mean, one.std] for one in self.standards],
            "cache_type": self._rounded(),
            **self.settings.parts(),
        }
        return {name: fingerprint({name: value}) for name, value in contents.items()}

    def _rounded(self) -> str:
        """How pixels are rounded that are packed; empty where they are as they are read."""
        if self._pack is None:
            return ""
        exact = self._pack.kind == "uint16" and all(_divisor(image.reader) is not None for image in self.images)
        return "" if exact else self._pack.kind

    def _images(self) -> list[list[Any]]:
        """What decides the pixels of each image before they are standardised."""
        return [
            [one.source, one.sample, one.reader.fingerprint, getattr(one.reader, "preparation", "")]
            for one in self.images
        ]

    def keep(self, folder: str | os.PathLike[str]) -> None:
        """Write the windows into the folder of a run, or compare them with those that are there.

        Writes ``windows.parquet``, the table, and ``windows.json``, digests of all that decides what a step sees.

        Parameters
        ----------
        folder
            Of the run.

        Raises
        ------
        RunError
            If the folder has other windows, or windows seen in another way; the message names what differs.
        """
        keep_windows(folder, self.table, self.parts())

    def __getstate__(self) -> dict[str, bytes]:
        return {"state": cloudpickle.dumps(self.__dict__)}  # graphs of dask hold functions that pickle does not take

    def __setstate__(self, state: dict[str, bytes]) -> None:
        self.__dict__.update(cloudpickle.loads(state["state"]))


def _places(table: pd.DataFrame) -> np.ndarray:
    """Image, first row and first column of each window: a step asks for them often, and a table takes its time."""
    return table[["image", "y", "x"]].to_numpy(np.int64)


def _divisor(reader: object) -> float | None:
    """What whole numbers were divided by, where that is all that was done to them."""
    if not isinstance(reader, SampleReader):
        return None
    untouched = reader.ratio == 1 and is_short(reader.image.dtype)
    return reader.intensity_max if untouched else None
