"""``sfm.pp.check_labels``: whether label images are what they seem, before anything is measured on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from .._errors import CoordinateError, ElementError, counted, listed, warn
from .._logging import logger
from .._progress import progress_bar
from .._public import public
from .arrays import cells_element, drawn_kind, image_array, labels_array, table_call
from .drawn_cells import DrawnCells, drawn_cells
from .drawn_findings import as_drawn, find_oddities_of_drawn, pieces_of_points
from .elements import SampleElements, image_to_system, labels_to_image, match_elements, pixel_size
from .label_findings import NO_NUMBERS, Finding, find_oddities, median_area, worst_first
from .missing_chunks import report_missing_labels
from .outlines import find_outlines
from .pieces import Pieces, scan_pieces

if TYPE_CHECKING:
    from spatialdata import SpatialData

OnPieces = Literal["raise", "split", "keep"]

_SHOWN = 5
OF_DRAWN = (
    "no_outline",
    "outside",
    "no_pixel",
    "overlap",
    "corner",
    "dots",
)  # findings that name cells by their own ids
_OF_KIND = ("fractional", "rounded", "negative", "float", "binary", "outlines", "fragments", "resolution", "transposed")
_OTHER_RESOLUTION = 1.3  # closer factors are borders that were cut off


@dataclass(frozen=True)
class CheckedLabels:
    """Labels of one sample: their pieces and what is odd about them; `drawn` where they are shapes or points."""

    sample: str
    labels: str
    pieces: Pieces
    findings: list[Finding]
    drawn: DrawnCells | None = None


@public
def check_labels(
    sdata: SpatialData,
    labels: str | Sequence[str] | Mapping[str, str] | None = None,
    *,
    image: str | Sequence[str] | Mapping[str, str] | None = None,
    samples: str | Sequence[str] | None = None,
) -> pd.DataFrame:
    """Find labels that are not single cells: numbers used twice, backgrounds, fragments, wrong kinds of mask.

    One pass over the labels, block by block; nothing is changed. `cell_table` and `spatialfm.tl.embed_cells` do the
    same before they start. Polygons and circles are drawn on the pixels of their image first, and points take the pixel
    that holds them.

    A *piece* is a set of pixels of one number that touch by side or corner (8-connectivity). It has the size of a cell
    if its area is at least a quarter of the median cell's: the median over the largest pieces of the numbers, or, with
    fewer than five numbers, over all pieces. `finding` is one of:

    ``"repeated"`` (error)
        Numbers with several pieces of the size of a cell: more cells than the data type has numbers, tiles that were
        numbered one by one, a mask of 0 and 255, a map of regions. An error if more than 0.1 % of the numbers have
        such pieces further apart than the diameter of a median piece, or more than 5 % have any, or one has and the
        largest number is the last that the data type holds.
    ``"overflow"`` (warning)
        Next to it: numbers that began again after the last of the data type, so that some cells became 0 and are lost.
        Alone: every number of the data type is used, and there may have been more cells.
    ``"cut"`` (warning)
        The same below these limits: a few cells in two halves.
    ``"fragments"`` (warning)
        Numbers with a fragment smaller than that, as most segmentations have a few. An error where more than half of
        the numbers (of ten or more) are in pieces: masks resized with interpolation or compressed with loss.
    ``"background"`` (error), ``"giant"`` (warning)
        Cells whose largest piece has more pixels than 20 median cells, or more than 10,000 µm² where the size of a
        pixel is known; of fewer than five cells, which have no median, those that cover more than a tenth of an image
        of 65,536 pixels and more. An error where one covers more than a tenth of the image and has 20 median cells, or
        reaches all four borders around other cells; and where the largest number of the data type (65535 of uint16)
        is far above all others, in three pieces and more or on more than five median cells.
    ``"outlines"`` (error; warning where there are five numbers and more)
        Lines of one or two pixels around the cells instead of their pixels, drawn with one number or with each cell's
        own.
    ``"crumbs"`` (note; warning above 5 % of the cells)
        Cells of one or two pixels. They are kept.
    ``"binary"``, ``"float"``, ``"fractional"``, ``"rounded"``, ``"negative"`` (error)
        Yes/no masks; numbers stored as floats; pixels that are not whole numbers; numbers that a float cannot tell
        apart; negative numbers. A mask of 0 and the largest number of its data type only is a yes/no mask too (a
        warning where it is one piece of at most 10,000 µm², as of a single cell).
    ``"empty"`` (warning)
        No cell.
    ``"transposed"``, ``"resolution"`` (error), ``"shape"`` (warning)
        Labels aligned pixel by pixel to an image of another size: rows and columns exchanged; both sides larger or
        smaller by the same factor, as masks of another resolution without their own transformation; any other.
    ``"no_outline"``, ``"outside"``, ``"no_pixel"``, ``"overlap"`` (warning)
        Of polygons, circles and points: cells with an empty geometry; outside of the image (an error where these are
        more than half of all); that hold the centre of no pixel; that share pixels with cells before them in the
        element, which keep these. An outline in several parts is one cell.
    ``"corner"`` (warning)
        All cells (of ten or more) in the first half of rows and columns, as where µm are taken for pixels.
    ``"dots"`` (error)
        Circles of one radius and a few pixels each, which say where cells are and are not outlines of them.

    Parameters
    ----------
    sdata
        Label images ``(y, x)``.
    labels
        Labels or shapes elements to check, as in `spatialfm.pp.elements.match_elements` (default: those of every
        image). Labels named without `image` need none.
    image
        Images of these labels, likewise.
    samples
        Samples to use (default: all).

    Returns
    -------
    One row per finding, the worst of a sample first, and one row ``"none"`` for labels without any:

    - ``sample``, ``labels``: where.
    - ``finding``, ``severity`` (``"error"``, ``"warning"``, ``"note"``, ``"ok"``).
    - ``n``: numbers concerned (of ``"fractional"``: pixels), ``share`` of all.
    - ``numbers``: all of them, as a list; of shapes whose ids are text or begin at 0, places in the element,
      counted from 1.
    - ``n_cells``, ``n_pieces``, ``median_area`` in pixels: of the whole element.
    - ``message``: the finding in words.

    Raises
    ------
    ElementError, CoordinateError
        If elements are missing or cannot be paired.

    See Also
    --------
    spatialfm.pp.fix_labels : Writes labels without what was found.

    Examples
    --------
    >>> import numpy as np, spatialdata as sd, spatialfm as sfm
    >>> from spatialdata.models import Labels2DModel
    >>> mask = np.kron(np.eye(6, dtype="uint8"), np.ones((8, 8), "uint8"))  # six squares, touching at corners
    >>> apart = np.kron(np.eye(6, dtype="uint8"), np.pad(np.full((6, 6), 255, "uint8"), 1))
    >>> labels = {"one": Labels2DModel.parse(mask), "six": Labels2DModel.parse(apart)}
    >>> result = sfm.pp.check_labels(sd.SpatialData(labels=labels), ["one", "six"])
    >>> result[["labels", "finding", "n_cells", "n_pieces"]]
      labels   finding  n_cells  n_pieces
    0    one      none        1         1
    1    six  repeated        1         6
    """
    targets = label_targets(sdata, labels, image, samples)
    report_missing_labels(sdata, [name for _, name, _ in targets])
    checked = [
        inspect_labels(sdata, sample, name, pair)
        for sample, name, pair in progress_bar(targets, desc="labels", unit="sample")
    ]
    return pd.concat([_frame(check) for check in checked], ignore_index=True)


def inspect_labels(sdata: SpatialData, sample: str, name: str, pair: SampleElements | None) -> CheckedLabels:
    """Pieces and findings of one labels element; `pair` names its image, on which shapes and points are drawn."""
    if pair is not None and (drawn := drawn_cells(sdata, pair)) is not None:
        return _inspect_drawn(sdata, pair, drawn)
    array = labels_array(sdata, name)
    try:
        pieces = scan_pieces(array.data)
    except ValueError as error:
        raise ElementError(f"Labels element {name!r}: {error}. Number its cells from 1 upwards.") from error
    findings = find_oddities(pieces, array.shape, array.dtype, _pixel_area(sdata, pair))
    findings = find_outlines(array.data, pieces) + findings
    if pair is not None:
        findings = _of_place(sdata, pair) + findings
    findings = worst_first(findings)
    return CheckedLabels(sample, name, pieces, findings)


def _inspect_drawn(sdata: SpatialData, pair: SampleElements, drawn: DrawnCells) -> CheckedLabels:
    if drawn.kind == "points":
        pieces, findings = pieces_of_points(drawn), []
    else:
        data = drawn.lazy()
        pieces = scan_pieces(data)
        findings = as_drawn(find_oddities(pieces, data.shape, data.dtype, _pixel_area(sdata, pair)))
    findings = worst_first([*find_oddities_of_drawn(drawn, pieces.by_label()), *findings])
    return CheckedLabels(pair.sample, drawn.name, pieces, findings, drawn)


def check_choice(argument: str, value: object, choices: Sequence[str]) -> None:
    """Refuse a value that is not one of the choices."""
    if value not in choices:
        raise ValueError(f"{argument}={value!r} is not one of {listed(choices)}.")


def report_labels(
    sdata: SpatialData, checked: Sequence[CheckedLabels], on_pieces: str = "raise", on_giants: str = "raise"
) -> None:
    """Refuse labels whose cells would be wrong, and warn of the rest: once for all samples.

    Raises
    ------
    ElementError
        With all labels that are refused, and what to do.
    """
    errors, warnings = [], []
    for check in checked:
        for finding in check.findings:
            kept = _is_kept(finding, on_pieces, on_giants)
            if finding.severity == "error" and not kept:
                errors.append((check, finding))
            elif finding.severity == "warning" and finding.kind != "empty":  # cell_table itself reports what is empty
                warnings.append((check, finding))
            elif finding.kind != "empty":
                logger.info(_sentence(check, finding))
    if errors:
        kinds = list(dict.fromkeys(finding.kind for _, finding in errors))
        # what is not a label image at all has to be fixed first, which changes pieces and giants
        kinds = [kind for kind in kinds if kind in _OF_KIND] or kinds
        remedies = " ".join(_remedy(sdata, kind, [pair for pair in errors if pair[1].kind == kind]) for kind in kinds)
        raise ElementError(f"{_sentences(errors)} {remedies} sfm.pp.check_labels(sdata) lists all.")
    if warnings:
        warn(f"{_sentences(warnings)} They are kept as they are; sfm.pp.check_labels(sdata) lists all.")


def _is_kept(finding: Finding, on_pieces: str, on_giants: str) -> bool:
    if finding.kind == "repeated":
        return on_pieces != "raise"
    if finding.kind == "binary":  # a yes/no mask has no numbers that could be kept
        return on_pieces != "raise" and finding.numbers.max(initial=0) > 1
    if finding.kind == "fragments":  # pieces of interpolated numbers are not cells
        return on_pieces == "keep"
    return finding.kind == "background" and on_giants != "raise"


def _sentence(check: CheckedLabels, finding: Finding) -> str:
    sample = "" if check.sample == check.labels else f" (sample {check.sample!r})"
    stop = "" if finding.text.endswith("?") else "."
    what = "Labels" if check.drawn is None else "Points" if check.drawn.kind == "points" else "Shapes"
    places = check.drawn is not None and check.drawn.renamed and finding.kind not in OF_DRAWN and finding.numbers.size
    more = " (counted from 1 in the order of the element)" if places else ""
    return f"{what} element {check.labels!r}{sample} {finding.text}{more}{stop}"


def _sentences(findings: Sequence[tuple[CheckedLabels, Finding]]) -> str:
    more = f" And {len(findings) - _SHOWN} more such findings." if len(findings) > _SHOWN else ""
    return " ".join(_sentence(*pair) for pair in findings[:_SHOWN]) + more


def _remedy(sdata: SpatialData, kind: str, findings: Sequence[tuple[CheckedLabels, Finding]]) -> str:
    names = list(dict.fromkeys(check.labels for check, _ in findings))
    named = repr(names[0]) if len(names) == 1 else repr(names)
    numbers = sorted({int(number) for _, finding in findings for number in finding.numbers})
    split, keep = (table_call(sdata, option) for option in ('on_pieces="split"', 'on_giants="keep"'))
    if kind == "outside":
        return (
            "If they are in other units or of another image, correct their transformation: spatialdata.transformations."
            f"set_transformation(sdata[{names[0]!r}], ...)."
        )
    if kind == "dots":
        return (
            f"Remove them with del sdata.shapes[{names[0]!r}]: cells are then the positions in obsm['spatial'] of the "
            "table that annotates them, embedded with what is around them. Or give them the radius of a cell."
        )
    if kind == "background" and (drawn := findings[0][0].drawn) is not None:
        places = np.flatnonzero(np.isin(drawn.numbers, findings[0][1].numbers)).tolist()
        return (
            f"If they mean no cell, take them out of the element: sdata[{names[0]!r}] = sdata[{names[0]!r}].drop("
            f"sdata[{names[0]!r}].index[{places}]); if they are cells, make a table with {keep}."
        )
    if kind == "repeated":
        return (
            f"Make each piece a cell with {split}, which writes new labels, or take "
            'all pieces of a number as one cell with on_pieces="keep".'
        )
    if kind == "background":
        return (
            f"If they mean no cell, write labels without them: sfm.pp.fix_labels(sdata, {named}, background="
            f"{numbers}); if they are cells, make a table with {keep}."
        )
    if kind == "negative" and len(numbers) == 1:
        return f"If it means no cell: sfm.pp.fix_labels(sdata, {named}, background={numbers})."
    if kind == "binary":
        return (
            f"Number its parts with sfm.pp.fix_labels(sdata, {named}, split=True), where cells that touch become one; "
            "or take the segmentation's own labels, or have cells segmented (sfm.pp.segment_cells). If it is a single "
            'cell, pass on_pieces="keep".'
        )
    if kind == "outlines":
        return (
            "Take the labels from which the outlines were drawn: the inside of the cells cannot be recovered from them."
        )
    if kind == "float":
        return f"Write them as integers: sfm.pp.fix_labels(sdata, {named})."
    if kind == "resolution":
        return (
            "If it shows the same field at another resolution, give it its own scale: "
            "spatialdata.transformations.set_transformation(sdata.labels[<name>], Scale([<µm per pixel>] * 2, "
            "axes=('x', 'y')), <sample>). If it shows a part of the field, pad it with 0 to the image's size."
        )
    if kind == "transposed":
        return "Exchange their rows and columns where they are read, before they are put into the SpatialData."
    return "Take the label image as the segmentation wrote it (integers, resized with nearest neighbour at most)."


def _pixel_area(sdata: SpatialData, pair: SampleElements | None) -> float | None:
    """µm² of a pixel of the labels."""
    if pair is None or pixel_size(sdata, pair) is None:
        return None
    affine = labels_to_image(sdata, pair).then(image_to_system(sdata, pair))
    return affine.scale_y * affine.scale_x


def _of_place(sdata: SpatialData, pair: SampleElements) -> list[Finding]:
    """Whether labels that are aligned pixel by pixel to an image have its size."""
    shape, size = labels_array(sdata, pair.labels).shape, image_array(sdata, pair.image).shape[1:]
    if shape == size or not labels_to_image(sdata, pair).is_identity:
        return []
    labels_size, image_size = (f"{y:,} x {x:,}" for y, x in (shape, size))
    text = f"has {labels_size} pixels (y, x) and is aligned pixel by pixel to image {pair.image!r} of {image_size}"
    if shape == size[::-1]:
        return [Finding("transposed", "error", 0, 0, NO_NUMBERS, f"{text}: rows and columns are exchanged")]
    ratio = np.divide(shape, size)
    if abs(ratio[0] - ratio[1]) < 2 / min(size) and not 1 / _OTHER_RESOLUTION < ratio[0] < _OTHER_RESOLUTION:
        return [Finding("resolution", "error", 0, 0, NO_NUMBERS, f"{text}, {ratio[0]:.3g} times as large")]
    return [Finding("shape", "warning", 0, 0, NO_NUMBERS, f"{text}: does it show the same field?")]


def label_targets(sdata: SpatialData, labels, image, samples) -> list[tuple[str, str, SampleElements | None]]:
    """Sample, labels and, where there is one, image with its labels."""
    named = [labels] if isinstance(labels, str) else labels
    if named is not None and image is None and not isinstance(named, Mapping):
        pairs = {pair.labels: pair for pair in _pairs_or_none(sdata)}
        for name in named:
            cells_element(sdata, name)
            if drawn_kind(sdata, name) is None:
                labels_array(sdata, name)
            elif name not in pairs:  # they are drawn on the pixels of an image
                pairs[name] = match_elements(sdata, None, name, samples=samples)[0]
        targets = [(pairs[name].sample if name in pairs else name, name, pairs.get(name)) for name in named]
    else:
        pairs = match_elements(sdata, image, labels, samples=samples, need_labels=False)
        targets = [(pair.sample, pair.labels, pair) for pair in pairs if pair.labels is not None]
    if samples is not None:
        wanted = [samples] if isinstance(samples, str) else samples
        targets = [target for target in targets if target[0] in wanted]
    if not targets:
        names = listed([*sdata.labels, *sdata.shapes])
        raise ElementError(f"No labels to check; sdata has the labels and shapes {names}. Pass labels=[...].")
    return targets


def _pairs_or_none(sdata: SpatialData) -> list[SampleElements]:
    try:
        return match_elements(sdata, need_labels=False)
    except (ElementError, CoordinateError):  # labels that were named need no image
        return []


def _frame(check: CheckedLabels) -> pd.DataFrame:
    n_cells = check.pieces.first.size
    median = median_area(check.pieces)
    clean = f"has {counted(n_cells, 'cell')}; median area {median:,.0f} pixels"
    findings = check.findings or [Finding("none", "ok", 0, n_cells, NO_NUMBERS, clean)]
    return pd.DataFrame(
        {
            "sample": check.sample,
            "labels": check.labels,
            "finding": [finding.kind for finding in findings],
            "severity": [finding.severity for finding in findings],
            "n": [finding.n for finding in findings],
            "share": [finding.n / finding.of if finding.of else 0.0 for finding in findings],
            "numbers": pd.Series([finding.numbers.tolist() for finding in findings], dtype=object),
            "n_cells": n_cells,
            "n_pieces": check.pieces.ids.size,
            "median_area": median,
            "message": [_sentence(check, finding) for finding in findings],
        }
    )
