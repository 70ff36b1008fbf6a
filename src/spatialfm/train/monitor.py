"""How a run goes: tables of its steps and checks, curves, and what says that it has failed without an error."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from .. import _disk
from .._errors import counted, listed, warn
from ..models.encoder import Encoder, EncoderOutput, takes_outputs
from .batch import WindowSample
from .checkpoint import writing
from .curves import draw_curves

if TYPE_CHECKING:
    from .loop import Seen

LOSSES, CHECKS, CURVES = "losses.csv", "checks.csv", "curves.png"
COLLAPSED = 0.1  # of the largest spread, or effective rank above 1, that there was
NO_SPREAD = 1e-4  # below which vectors are the same for any use; weights may begin there, as with a small LayerScale
BETWEEN_CURVES = 60.0  # seconds; a picture takes about one
ENOUGH = 32  # windows of a marker, all constant, after which it is called dead

Check = Callable[[int], Mapping[str, float]]


class Monitor:
    """Writes the tables of a run and warns of what has gone wrong.

    Parameters
    ----------
    folder
        Of the run.
    writes
        Whether this process writes; of several, the first does.
    checks
        Each is called with the number of steps that are done, in all processes, and gives columns of ``checks.csv``.
    n_steps
        Of the run, or what gives them after so many, as a plan's `length` does; then curves are drawn in any case,
        before once a minute at most. None: at every check.
    """

    def __init__(
        self,
        folder: Path,
        *,
        writes: bool = True,
        checks: Sequence[Check] = (),
        n_steps: int | Callable[[int], int] | None = None,
    ) -> None:
        self.folder, self.writes, self.checks = folder, writes, checks
        self.length = n_steps if callable(n_steps) else lambda done: n_steps
        self.drawn_at = 0.0
        self.losses, self.checked = RowsFile(folder / LOSSES), RowsFile(folder / CHECKS)
        self.before, self.began = 0.0, time.monotonic()
        self.warned: set[str] = set()

    def resume(self, step: int) -> bool:
        """Drop what is said of steps that are done again; whether there is no row of a check after so many."""
        self.began = time.monotonic()
        if self.writes:
            with writing(self.folder):
                self.losses.keep(step)
                self.checked.keep(step)
            self.before = self.losses.last("seconds")
        return not self.checked.rows or self.checked.rows[-1]["step"] != step

    def step(self, step: int, row: Mapping[str, float]) -> None:
        """Write the row of a step."""
        if not self.writes:
            return
        with writing(self.folder):
            self.losses.add({"step": step, **row, "seconds": self.before + time.monotonic() - self.began})

    def check(self, step: int, seen: Seen) -> None:
        """Do the checks, write their row, draw the curves and warn of failures."""
        row: dict[str, float] = {"step": step}
        for one in self.checks:
            row |= one(step)
        if not self.writes:
            return
        if self.checked.rows and self.checked.rows[-1]["step"] == step:  # a finished run, looked at again
            return
        with writing(self.folder):
            self.checked.add(row)
        self._warn_of_collapse(row)
        self._warn_of_dead_markers(seen)
        if self.length(step) in (None, step) or time.monotonic() - self.drawn_at > BETWEEN_CURVES:
            with writing(self.folder), _disk.written_beside(self.folder / CURVES) as partial:
                draw_curves(self.losses.rows, self.checked.rows, partial)
            self.drawn_at = time.monotonic()

    def _warn_of_collapse(self, row: Mapping[str, float]) -> None:
        """Warn where embeddings were different once, or at the end are the same."""
        before = [one for one in self.checked.rows[:-1] if "spread" in one]
        if not before or "spread" not in row or "collapse" in self.warned:
            return
        spread, rank = max(one["spread"] for one in before), max(one["effective_rank"] for one in before)
        fallen = row["spread"] < COLLAPSED * spread or row["effective_rank"] - 1 < COLLAPSED * (rank - 1)
        if fallen or (row["step"] == self.length(int(row["step"])) and row["spread"] < NO_SPREAD):
            self.warned.add("collapse")
            advice = (
                "Such a collapse does not pass by itself: stop, and train with a lower learning rate or other options."
            )
            if not fallen:
                advice = "They have not come apart in this run. Train for more steps, or with another learning rate."
            warn(
                f"After step {row['step']:,}, embeddings of different windows are almost the same: their spread is "
                f"{row['spread']:.2g} ({spread:.2g} at most before), their effective rank {row['effective_rank']:.2f} "
                f"({rank:.2f}). {advice} See '{self.folder / CURVES}'."
            )

    def _warn_of_dead_markers(self, seen: Seen) -> None:
        dead = [name for name, (n, constant) in sorted(seen.items()) if constant == n >= ENOUGH]
        if new := [name for name in dead if name not in self.warned]:
            self.warned.update(new)
            warn(
                f"{counted(len(new), 'marker')} without signal: {listed(new)} had one value in every pixel of all "
                f"{min(seen[name][0] for name in new):,} windows or more that were drawn. Leave it out with "
                "panel={'markers': [...]}, or look at the images."
            )


class RowsFile:
    """A table that grows by rows of numbers, each on the disk at once.

    Parameters
    ----------
    path
        The CSV file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = _read(path)
        self.columns = list(dict.fromkeys(name for row in self.rows for name in row))

    def keep(self, step: int) -> None:
        """Keep the rows of steps up to one; a row that a killed process wrote in part goes too."""
        self.rows = [row for row in self.rows if row["step"] <= step]
        self.columns = list(dict.fromkeys(name for row in self.rows for name in row))
        if self.path.exists():
            self._rewrite()

    def add(self, row: Mapping[str, float]) -> None:
        """Add a row; a column that is new is empty before."""
        new = [name for name in row if name not in self.columns]
        self.rows.append(dict(row))
        if new:
            self.columns += new
            self._rewrite()
        else:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                file.write(self._line(row))

    def last(self, name: str) -> float:
        """Value of a column in the last row, or 0."""
        return self.rows[-1].get(name, 0.0) if self.rows else 0.0

    def _line(self, row: Mapping[str, float]) -> str:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow([_shown(row.get(name)) for name in self.columns])
        return text.getvalue()

    def _rewrite(self) -> None:
        header = ",".join(self.columns) + "\n" if self.columns else ""
        _disk.write_bytes(self.path, (header + "".join(map(self._line, self.rows))).encode())


def _shown(value: float | None) -> str:
    if value is None:
        return ""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else f"{value:.9g}"


def _read(path: Path) -> list[dict[str, float]]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return []
    whole = text[: text.rfind("\n") + 1]  # of a killed process, the last line may be a part of one
    return [
        {name: float(value) for name, value in row.items() if name and value}
        for row in csv.DictReader(io.StringIO(whole))
    ]


class Collapse:
    """A check: how far embeddings of some fixed windows are from being the same.

    Parameters
    ----------
    encoder
        Gives the encoder as it would be saved.
    windows
        Windows, of any panel each.
    """

    def __init__(self, encoder: Callable[[], Encoder], windows: Sequence[WindowSample]) -> None:
        self.encoder, self.windows = encoder, windows

    def __call__(self, step: int) -> dict[str, float]:
        """Effective rank and spread of the embeddings, see `spread_of`."""
        rank, spread = spread_of(embeddings_of(self.encoder(), self.windows))
        return {"effective_rank": rank, "spread": spread}


def embeddings_of(encoder: Encoder, windows: Sequence[WindowSample]) -> np.ndarray:
    """Embeddings ``(n, D)`` of windows, in evaluation mode."""
    before, options = encoder.training, {"outputs": [_output(encoder)]} if takes_outputs(encoder) else {}
    encoder.eval()
    try:
        with torch.no_grad():
            vectors = [
                _vector(
                    encoder(
                        one.pixels[None].to(encoder.device),
                        None if one.markers is None else one.markers.to(encoder.device),
                        **options,
                    )
                )
                for one in windows
            ]
    finally:
        encoder.train(before)
    return np.stack(vectors)


def _output(encoder: Encoder) -> str:
    offered = encoder.card.outputs
    return next((name for name in ("patch", "summary", "marker", "token") if name in offered), offered[0])


def _vector(out: EncoderOutput) -> np.ndarray:
    """One vector per window: its own, or the mean over markers and positions."""
    for tensor, axes in ((out.patch, ()), (out.summary, (1, 2)), (out.marker, (1,)), (out.token, (1, 2, 3))):
        if tensor is not None:
            return (tensor.mean(axes) if axes else tensor)[0].float().cpu().numpy()
    raise NotImplementedError("the encoder has given no output")


def spread_of(vectors: np.ndarray) -> tuple[float, float]:
    """Effective rank and spread of vectors ``(n, D)``.

    The effective rank is the exponential of the entropy of the singular values, each over their sum, of the centred
    vectors (Roy and Vetterli 2007): 1 where they lie on a line, up to ``min(n - 1, D)`` where they fill all directions
    alike. The spread is the root mean square distance of the vectors, scaled to unit length, from their mean: 0 where
    they are the same, near 1 where they point anywhere.

    Examples
    --------
    >>> spread_of(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
    (2.0, 1.0)
    >>> spread_of(np.ones((4, 2)))
    (1.0, 0.0)
    """
    exact = vectors.astype(np.float64)
    if not np.isfinite(exact).all():
        return float("nan"), float("nan")
    values = np.linalg.svd(exact - exact.mean(0), compute_uv=False)
    if values[0] <= 1e-12 * max(1.0, np.abs(exact).max()):
        return 1.0, 0.0
    shares = values[values > 0] / values.sum()
    units = exact / np.maximum(np.linalg.norm(exact, axis=1, keepdims=True), 1e-30)
    rank = float(np.exp(-(shares * np.log(shares)).sum()))
    return round(rank, 12), float(np.sqrt(((units - units.mean(0)) ** 2).sum(1).mean()))
