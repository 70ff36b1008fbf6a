"""Samples of an imaging mass cytometer: acquisitions of .mcd files, from their .txt files where an .mcd is broken."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .._errors import InputFileError, counted, listed
from ._imc_text import ImcText, is_imc_text, open_text
from ._mcd_file import Acquisition, McdContents, read_contents
from ._names import natural_key, sample_name


@dataclass(frozen=True)
class ImcSample:
    """One sample: an acquisition of an .mcd file, a .txt file, or the one read from the other.

    Attributes
    ----------
    file
        The .mcd, or the .txt where there is none.
    contents, acquisition
        Of the .mcd; None where it cannot be read.
    text
        The .txt, where pixels come from it.
    problem
        Why there are no pixels; empty where there are.
    reason
        Why they come from the .txt although there is an .mcd.
    """

    sample: str
    number: int | None
    description: str
    file: Path
    contents: McdContents | None = None
    acquisition: Acquisition | None = None
    text: ImcText | None = None
    problem: str = ""
    reason: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Names by which a mask, a clinical table or the user may mean it."""
        number = [f"{self.file.stem}_{self.number}"] if self.number is not None else []
        return (self.sample, self.file.stem if self.number is None else f"{self.file.stem}_{self.number:03d}", *number)

    @property
    def labels(self) -> tuple[str, ...]:
        """What was typed in, for each channel."""
        return self.text.labels if self.text is not None else self.acquisition.labels if self.acquisition else ()

    @property
    def metals(self) -> tuple[str, ...]:
        """Isotope of each channel."""
        return self.text.metals if self.text is not None else self.acquisition.metals if self.acquisition else ()


@dataclass
class Acquisitions:
    """What paths lead to."""

    samples: list[ImcSample] = field(default_factory=list)
    contents: list[tuple[Path, McdContents]] = field(default_factory=list)


def find_acquisitions(paths: Sequence[Path], wanted: Sequence[int | str] | None) -> Acquisitions:
    """All acquisitions of files and folders; only metadata are read.

    Raises
    ------
    InputFileError
        If there is none, a file is neither .mcd nor .txt, an .mcd is broken and has no .txt files, or an acquisition
        that is wanted is not there.
    """
    acquisitions, problems = Acquisitions(), []
    files = _files(paths)
    stems = {file.stem for file in files if _is_mcd(file)}
    for file in files:
        try:
            samples = _of_mcd(file, stems, acquisitions) if _is_mcd(file) else [_of_text(file)]
        except InputFileError as error:
            problems.append(str(error))
        else:
            acquisitions.samples += samples
    if problems:
        raise InputFileError("\n".join(problems))
    if wanted is not None:
        acquisitions.samples = _wanted(acquisitions.samples, wanted)
    seen: dict[str, ImcSample] = {}
    for one in acquisitions.samples:
        if (other := seen.setdefault(one.sample.casefold(), one)) is not one:
            raise InputFileError(
                f"'{other.file}' and '{one.file}' would both be sample {one.sample!r}. Rename a file, or read them "
                "apart."
            )
    return acquisitions


def _is_mcd(file: Path) -> bool:
    return file.suffix.lower() == ".mcd"


def _files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted((one for one in path.iterdir() if not one.name.startswith(".")), key=_key)
            mcd = [one for one in inside if _is_mcd(one)]
            stems = [one.stem for one in mcd]
            texts = [one for one in inside if one.suffix.lower() == ".txt" and one.is_file() and is_imc_text(one)]
            files += [*mcd, *(one for one in texts if not any(_number_in(one, stem) is not None for stem in stems))]
        elif path.suffix.lower() in (".mcd", ".txt") or not path.exists():
            files.append(path)
        else:
            raise InputFileError(
                f"'{path}' is neither an .mcd nor a .txt file. Pass one, or the folder that holds them."
            )
    if not files:
        raise InputFileError(f"{listed(map(str, paths))} contains no .mcd file, and no .txt file of the instrument.")
    return files


def _key(file: Path) -> tuple:
    return natural_key(file.name)


def _of_text(file: Path) -> ImcSample:
    return ImcSample(sample_name(file.stem), None, file.stem, file, text=open_text(file))


def _of_mcd(file: Path, stems: set[str], acquisitions: Acquisitions) -> list[ImcSample]:
    texts = _texts_of(file, stems) if file.is_file() else {}
    try:
        contents = read_contents(file)
    except InputFileError as error:
        if not texts:
            raise
        return [_recovered(file, number, files, str(error)) for number, files in sorted(texts.items())]
    acquisitions.contents.append((file, contents))
    if not contents.acquisitions:
        raise InputFileError(f"'{file}' has no acquisition: only the slide was set up. Leave it out.")
    return [_of_acquisition(file, contents, one, texts.get(one.id, [])) for one in contents.acquisitions]


def _recovered(file: Path, number: int, texts: Sequence[Path], reason: str) -> ImcSample:
    """An acquisition of which only the .txt is left."""
    text, why = _text_of(texts)
    problem = f"the .mcd is damaged, and {why}" if text is None else ""
    middle = texts[0].stem[len(file.stem) :].rsplit("_", 1)[0].strip("_")
    name = sample_name(f"{file.stem}_{number:03d}")
    return ImcSample(name, number, middle, file, text=text, problem=problem, reason=reason if text else "")


def _of_acquisition(file: Path, contents: McdContents, one: Acquisition, texts: Sequence[Path]) -> ImcSample:
    name = sample_name(f"{file.stem}_{one.id:03d}")
    text, problem = None, one.problem
    if one.problem:
        text, why = _text_of(texts)
        if text is None:
            problem += f", and {why}"
        elif (one.metals and text.metals != one.metals) or (0 not in one.shape and text.shape != one.shape):
            problem += f", and '{text.state.path}' has other channels or another size"
            text = None
    reason = one.problem if text is not None else ""
    problem = "" if text is not None else problem
    return ImcSample(name, one.id, one.description, file, contents, one, text, problem, reason)


def _text_of(texts: Sequence[Path]) -> tuple[ImcText | None, str]:
    """The only .txt of an acquisition, or why there is none to be used."""
    if len(texts) != 1:
        why = f"has {len(texts)} .txt files ({listed([one.name for one in texts], 3)})" if texts else "has no .txt file"
        return None, f"the acquisition {why}"
    try:
        return open_text(texts[0]), ""
    except InputFileError as error:
        return None, str(error)


def _texts_of(file: Path, stems: set[str]) -> dict[int, list[Path]]:
    """The .txt files beside an .mcd file by the number of their acquisition."""
    longer = {one for one in {*stems, *(path.stem for path in file.parent.glob("*.mcd"))} if len(one) > len(file.stem)}
    texts: dict[int, list[Path]] = {}
    for path in sorted(file.parent.iterdir()):
        number = _number_in(path, file.stem)
        if number is None or any(_number_in(path, stem) is not None for stem in longer) or not is_imc_text(path):
            continue
        texts.setdefault(number, []).append(path)
    return texts


def _number_in(path: Path, stem: str) -> int | None:
    """Number of the acquisition in ``<stem>_<description>_<number>.txt``, as the instrument names its files."""
    match = re.fullmatch(rf"{re.escape(stem)}(?:_.*)?_0*([0-9]+)\.txt", path.name, re.IGNORECASE)
    return int(match[1]) if match else None


def _wanted(samples: Sequence[ImcSample], wanted: Sequence[int | str]) -> list[ImcSample]:
    chosen: list[ImcSample] = []
    for one in wanted:
        mine = [
            sample
            for sample in samples
            if (sample.number == one if isinstance(one, int) else one in (*sample.names, sample.description))
        ]
        if not mine:
            known = [f"{sample.number} ({sample.description})" for sample in samples]
            raise InputFileError(f"There is no acquisition {one!r}, but {listed(known, quoted=False)}.")
        chosen += [sample for sample in mine if sample not in chosen]
    return [sample for sample in samples if sample in chosen]


def without_broken(samples: Sequence[ImcSample], drop: bool) -> tuple[list[ImcSample], list[ImcSample]]:
    """Samples with pixels, and those without.

    Raises
    ------
    InputFileError
        If there are such without and they are not to be dropped, or none is left.
    """
    broken = [one for one in samples if one.problem]
    if broken and (not drop or len(broken) == len(samples)):
        lines = [f"  - acquisition {one.number} ({one.description}) of '{one.file}': {one.problem}" for one in broken]
        remedy = "" if len(broken) == len(samples) else ' To leave them out, pass on_broken="drop".'
        raise InputFileError(
            f"{counted(len(broken), 'acquisition')} of {len(samples)} cannot be read. Copy the file again, or put the "
            f".txt files beside it.{remedy}\n" + "\n".join(lines)
        )
    return [one for one in samples if not one.problem], broken
