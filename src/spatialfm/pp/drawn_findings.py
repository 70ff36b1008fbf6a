"""What is odd about cells that are drawn: no outline, outside of the image, over each other, smaller than a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .._errors import counted
from .drawn_cells import DrawnCells, ids_text
from .label_findings import NO_NUMBERS, Finding
from .pieces import LabelScan, Pieces

_CORNER, _ENOUGH = 0.55, 10  # share of an image's sides; cells below which nothing is said
_DOT = 9.0  # pixels: a nucleus of 5 µm has 20 where a pixel is 1 µm
_PAINTED = ("repeated", "binary", "overflow", "outlines", "fragments", "cut")  # slips of masks; an outline is one cell


def find_oddities_of_drawn(drawn: DrawnCells, scan: LabelScan) -> list[Finding]:
    """Findings that only drawn cells have; `scan` is of their label image.

    Parameters
    ----------
    drawn
        All cells of the element.
    scan
        Those that have pixels in the image.
    """
    n = len(drawn.numbers)
    if not n:
        return [Finding("empty", "warning", 0, 0, NO_NUMBERS, "has no cell")]
    area = np.zeros(n, np.int64)
    order = np.argsort(drawn.numbers, kind="stable")
    area[order[np.searchsorted(drawn.numbers[order], scan.ids)]] = scan.area
    lost = drawn.counts - area
    within = ~drawn.empty & ~drawn.outside
    groups = {
        "no_outline": (drawn.empty, "without outline"),
        "outside": (drawn.outside, "outside of the image"),
        "no_pixel": (within & (drawn.counts == 0), "on the centre of no pixel, too small or at the border"),
    }
    findings = []
    for kind, (rows, text) in groups.items():
        if rows.any():
            severity = "error" if kind == "outside" and rows.sum() > n / 2 else "warning"
            findings.append(_finding(drawn, kind, severity, rows, text))
    findings += [one for one in (_in_a_corner(drawn, within), _dots(drawn, within)) if one is not None]
    if (lost > 0).any():
        hidden = int(((area == 0) & (lost > 0)).sum())
        text = f"that share {counted(int(lost.sum()), 'pixel')} with cells before them, which keep these"
        text += f" ({hidden:,} of them {'has' if hidden == 1 else 'have'} no other)" if hidden else ""
        findings.append(_finding(drawn, "overlap", "warning", lost > 0, text))
    return findings


def _in_a_corner(drawn: DrawnCells, within: np.ndarray) -> Finding | None:
    """Cells that all lie in the first half of rows and columns, as those whose µm are taken for pixels do."""
    if within.sum() < _ENOUGH:
        return None
    share = drawn.centers[within].max(axis=0) / drawn.shape
    if (share > _CORNER).any():
        return None
    text = (
        f"has all its cells in the first {share[0]:.0%} of the rows and {share[1]:.0%} of the columns of the image: "
        "are they in other units (µm, and the image in pixels)?"
    )
    return Finding("corner", "warning", int(within.sum()), len(drawn.numbers), NO_NUMBERS, text)


def _dots(drawn: DrawnCells, within: np.ndarray) -> Finding | None:
    """Discs of one size that cover next to nothing: they say where cells are, and are not outlines."""
    if drawn.kind != "circles" or within.sum() < 2:
        return None
    radii, n_pixels = drawn.parts["radii"][within], float(np.median(drawn.counts[within]))
    if np.ptp(radii) > 0 or n_pixels > _DOT:
        return None
    text = (
        f"has discs of radius {radii[0]:g} alone, {n_pixels:g} pixels each, as programs draw that know where cells are "
        "and not how large (spatialdata-io's codex): next to nothing of a cell would be seen"
    )
    return Finding("dots", "error", int(within.sum()), len(drawn.numbers), NO_NUMBERS, text)


def as_drawn(findings: Sequence[Finding]) -> list[Finding]:
    """Findings of a label image that was drawn: an outline in pieces, or with a hole, is one cell."""
    kept = [finding for finding in findings if finding.kind not in ("binary", "overflow", "outlines", "empty")]
    return [
        replace(finding, severity="note") if finding.kind in _PAINTED and finding.severity != "note" else finding
        for finding in kept
    ]


def pieces_of_points(drawn: DrawnCells) -> Pieces:
    """Points as cells of one pixel each, those outside of the image too, and those that share a pixel."""
    known = np.flatnonzero(~drawn.empty)
    known = known[np.argsort(drawn.numbers[known], kind="stable")]
    box = drawn.boxes[known]
    height, width = drawn.shape
    n = len(known)
    return Pieces(
        ids=drawn.numbers[known],
        area=np.ones(n, np.int64),
        total=box[:, [0, 2]].copy(),
        box=box.copy(),
        blocks=(),
        starts=np.empty(0, np.int64),
        piece_of=np.empty(0, np.int64),
        n_pixels=height * width,
        n_background=height * width - n,
    )


def without_pixel(drawn: DrawnCells, ids: np.ndarray) -> str:
    """Cells that are not among `ids`, with why, for a message; empty where all are."""
    lost = ~np.isin(drawn.numbers, ids)
    if not lost.any():
        return ""
    reasons = {
        "without outline": lost & drawn.empty,
        "outside of the image": lost & drawn.outside,
        "below other cells": lost & (drawn.counts > 0),
    }
    reasons["on the centre of no pixel"] = lost & ~np.logical_or.reduce(list(reasons.values()))
    named = [
        f"{rows.sum():,} {text} ({ids_text(drawn, drawn.numbers[rows])})"
        for text, rows in reasons.items()
        if rows.any()
    ]
    return f"{counted(int(lost.sum()), 'cell')} of {drawn.kind} {drawn.name!r} without pixel: {', '.join(named)}"


def _finding(drawn: DrawnCells, kind: str, severity: str, rows: np.ndarray, text: str) -> Finding:
    numbers = drawn.numbers[rows]
    n = int(rows.sum())
    verb = f"has {counted(n, 'cell')} of {len(drawn.numbers):,} {text}: {ids_text(drawn, numbers)}"
    return Finding(kind, severity, n, len(drawn.numbers), numbers, verb)
