"""Which samples a folder of MCMICRO holds, and the image, mask and table of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .._errors import InputFileError, counted, listed
from ._cohort_table import refuse_all
from ._mcmicro_markers import MARKERS_FILE, SUBTRACTED_FILE, MarkerSheet, read_markers
from ._names import is_tiff_name, natural_key, sample_name, stem

_DEFAULT_MASK = "cell"
_SUBTRACTED = "_backsub"  # what background subtraction appends to the name of an image
_MAP = "TMA_MAP"  # outlines of the cores, which older versions write beside them
_NF_CORE = ("registration/ashlar", "tma_dearray", "backsub", "quantification/mcquant", "segmentation/mesmer")


@dataclass(frozen=True)
class McmicroImage:
    """One image of a project.

    Attributes
    ----------
    sample
        Name of the sample.
    project
        Folder of the project.
    core
        Number of the core of a tissue array; None for a whole slide.
    path
        Of the image.
    sheets
        Lists of channels, one of which describes it; the likelier first.
    is_subtracted
        Whether background was subtracted.
    slide
        Image of the whole array, from which a core was cut.
    """

    sample: str
    project: Path
    core: str | None
    path: Path
    sheets: tuple[MarkerSheet, ...]
    is_subtracted: bool
    slide: Path | None = None

    @property
    def image_id(self) -> str:
        """What its masks and tables are named after."""
        return stem(self.path)


@dataclass(frozen=True)
class Segmented:
    """Mask and table of an image; None where there is none."""

    mask: Path | None
    table: Path | None


def find_images(
    folder: Path, which: Literal["auto", "registration", "background"], names_given: bool
) -> list[McmicroImage]:
    """All images of a project, or of the projects in a folder.

    Raises
    ------
    InputFileError
        If there is no project, or one has no image.
    """
    if not folder.is_dir():
        raise InputFileError(f"No folder '{folder}'. Pass the folder in which MCMICRO ran.")
    projects = (
        [folder]
        if _is_project(folder)
        else sorted(
            (one for one in folder.iterdir() if one.is_dir() and _is_project(one)),
            key=lambda one: natural_key(one.name),
        )
    )
    if any((folder / part).exists() for part in _NF_CORE):
        raise InputFileError(
            f"'{folder}' is laid out as nf-core/mcmicro writes it, and this reads the folders of MCMICRO itself. List "
            "its images and masks in a table with one row per sample, and read that with sfm.io.read_cohort."
        )
    if not projects:
        raise InputFileError(
            f"'{folder}' is not a folder of MCMICRO: neither it nor a folder in it has {MARKERS_FILE} and "
            "registration/ or dearray/. Pass the folder in which MCMICRO ran."
        )
    images: list[McmicroImage] = []
    problems: list[str] = []
    for project in projects:
        try:
            images += _images_of(project, which, names_given)
        except InputFileError as error:
            problems.append(str(error))
    by_name: dict[str, list[Path]] = {}
    for image in images:
        by_name.setdefault(image.sample.casefold(), []).append(image.path)
    problems += [f"several images of one name: {listed(paths)}" for paths in by_name.values() if len(paths) > 1]
    refuse_all(problems)
    return images


def find_segmented(
    images: Sequence[McmicroImage], segmentation: str | None, mask: str | None
) -> tuple[list[Segmented], str]:
    """Mask and table of each image, and what was chosen, as ``<method>/<mask>``; empty where there is no mask.

    Raises
    ------
    InputFileError
        If several methods or masks are there and none is chosen, or the chosen one is nowhere.
    """
    folders = [_methods(image, images) for image in images]
    methods = list(dict.fromkeys(method for one in folders for method in one))
    if not methods and segmentation is None and mask is None:
        return [Segmented(None, None) for _ in images], ""
    if segmentation is None and len(methods) > 1:
        raise InputFileError(
            f"Cells were segmented by {listed(methods)}. Which is meant? Pass segmentation={methods[0]!r}, or "
            "segmentation=False for none."
        )
    method = methods[0] if segmentation is None and methods else segmentation
    if method not in methods:
        there = f"there is {listed(methods)}" if methods else "there is none; pass segmentation=False"
        raise InputFileError(f"No folder 'segmentation/{method or '<method>'}-<image>': {there}.")
    files = [_mask_files(one.get(method)) for one in folders]
    names = list(dict.fromkeys(name for one in files for name in one))
    chosen = mask or (_DEFAULT_MASK if _DEFAULT_MASK in names else names[0] if len(names) == 1 else None)
    if chosen is None or chosen not in names:
        asked = f"There is no mask {mask!r} of" if mask else "Which mask is meant, of"
        raise InputFileError(f"{asked} {method!r}: {listed(names)}. Pass mask=<name>.")
    return [
        Segmented(one.get(chosen), _table(image, method, chosen) if chosen in one else None)
        for image, one in zip(images, files, strict=True)
    ], f"{method}/{chosen}"


def _is_project(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in ("registration", "dearray")) or (folder / MARKERS_FILE).is_file()


def _images_of(project: Path, which: str, names_given: bool) -> list[McmicroImage]:
    cores, slides = _tiffs(project / "dearray"), _tiffs(project / "registration")
    subtracted = _tiffs(project / "background")
    if which == "background" and not subtracted:
        raise InputFileError(f"No image in '{project / 'background'}'. Pass image='registration'.")
    use_subtracted = bool(subtracted) and which != "registration"
    paths = cores or (subtracted if use_subtracted else slides)
    if not paths:
        raise InputFileError(
            f"No image in '{project / 'registration'}', nor in '{project / 'dearray'}'. Copy it there."
        )
    sheets = () if names_given else _sheets(project, use_subtracted or (bool(cores) and bool(subtracted)))
    slide = (subtracted or slides or [None])[0] if cores else None
    project_name = project.resolve().name
    return [
        McmicroImage(
            sample=sample_name(f"{project_name}_{stem(path)}" if cores else stem(path).removesuffix(_SUBTRACTED)),
            project=project,
            core=stem(path) if cores else None,
            path=path,
            sheets=sheets,
            is_subtracted=bool(subtracted) if cores else use_subtracted,
            slide=slide,
        )
        for path in paths
    ]


def _sheets(project: Path, is_subtracted: bool) -> tuple[MarkerSheet, ...]:
    """Lists that may describe the images: after background subtraction there is one of its own."""
    files = [project / MARKERS_FILE]
    own = [project / "background" / SUBTRACTED_FILE, project / SUBTRACTED_FILE]
    if is_subtracted:
        files = [*(file for file in own if file.is_file()), *files]
    there = [file for file in files if file.is_file()] or files  # where there is none, its absence is the error
    return tuple(read_markers(file, is_subtracted=file in own) for file in there)


def _tiffs(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    files = [path for path in folder.iterdir() if is_tiff_name(path) and stem(path) != _MAP]
    return sorted(files, key=lambda path: natural_key(path.name))


def _methods(image: McmicroImage, images: Sequence[McmicroImage]) -> dict[str, Path]:
    """Folders with masks of an image, by the method that made them."""
    folder = image.project / "segmentation"
    if not folder.is_dir():
        return {}
    own = {image.image_id, image.image_id.removesuffix(_SUBTRACTED), f"{image.image_id}{_SUBTRACTED}"}
    others = {one.image_id for one in images if one.project == image.project} - own
    masks: dict[str, Path] = {}
    for path in sorted((one for one in folder.iterdir() if one.is_dir()), key=lambda one: natural_key(one.name)):
        named = [name for name in own if path.name.endswith(f"-{name}")]
        longer = [name for name in others if path.name.endswith(f"-{name}")]
        # method-a-1 is of image a-1 where there is one, not of image 1
        if named and len(max(named, key=len)) > max(map(len, longer), default=0):
            masks[path.name.removesuffix(f"-{max(named, key=len)}")] = path
    return masks


def _mask_files(folder: Path | None) -> dict[str, Path]:
    return {} if folder is None else {stem(path): path for path in _tiffs(folder)}


def _table(image: McmicroImage, method: str, mask: str) -> Path | None:
    """Table of quantification, as newer or older versions name it."""
    ids = dict.fromkeys([image.image_id, f"{image.image_id}{_SUBTRACTED}", image.image_id.removesuffix(_SUBTRACTED)])
    folder = image.project / "quantification"
    names = [name for one in ids for name in (f"{one}--{method}_{mask}.csv", f"{method}-{one}_{mask}.csv")]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def without_mask(images: Sequence[McmicroImage], segmented: Sequence[Segmented], chosen: str) -> str:
    """Samples that the chosen method has no mask of, as a sentence; empty where all have one."""
    lacking = [image.sample for image, one in zip(images, segmented, strict=True) if one.mask is None]
    if not chosen or not lacking:
        return ""
    return (
        f"{counted(len(lacking), 'sample has', 'samples have')} no mask in "
        f"segmentation/{chosen.replace('/', '-<image>/')}.ome.tif and so no cells: {listed(lacking)}."
    )
