"""Files that belong to samples by their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path

from .._errors import InputFileError, counted, listed
from ._names import natural_key, sample_name_or_empty, stem
from ._paths import find_path


def bare(name: str, suffixes: Sequence[str] = ()) -> str:
    """A file's name without its folder, one of `suffixes`, and those of images."""
    name = name.replace("\\", "/").rpartition("/")[2]
    suffix = max((one for one in suffixes if name.lower().endswith(one)), key=len, default="")
    return stem(Path(name[: len(name) - len(suffix)]))


def files_by_sample(
    given: str | PathLike | Mapping[str, str | PathLike],
    samples: Mapping[str, str],
    suffixes: Sequence[str],
    argument: str,
    ending: str = "",
) -> tuple[dict[str, Path], list[str]]:
    """File of each sample, and what is wrong.

    Parameters
    ----------
    given
        A folder, one file where there is one sample, or a mapping from samples to files.
    samples
        Name of each sample: what the files call it.
    suffixes
        Of the files, in lower case.
    argument
        What the files are given as, for messages.
    ending
        What follows the name of the sample in that of the file.

    Raises
    ------
    InputFileError
        If there is no such folder or file, or a single file for several samples.
    """
    if isinstance(given, Mapping):
        paths = {str(key): find_path(str(value)) for key, value in given.items()}
        missing = [f"{argument}= has no file for sample {name!r}" for name in samples if name not in paths]
        return {name: paths[name] for name in samples if name in paths}, missing
    path = find_path(str(given))
    if not path.exists():
        raise InputFileError(f"No file or folder '{path}' for {argument}=. Check the path.")
    if path.is_file() or path.suffix.lower() == ".zarr":
        if len(samples) > 1:
            raise InputFileError(
                f"{argument}= is one file, but there are {counted(len(samples), 'sample')}: {listed(samples)}. Pass "
                "the folder of their files, or a mapping {<sample>: <file>}."
            )
        return {next(iter(samples)): path}, []
    by_name = _by_name(path.iterdir(), suffixes, ending)
    files, problems = {}, []
    for name, called in samples.items():
        ours = by_name.get(bare(called, suffixes).casefold()) or by_name.get(name.casefold()) or []
        if len(ours) == 1:
            files[name] = ours[0]
        else:
            said = f"several files ({listed(one.name for one in ours)})" if ours else "no file"
            problems.append(f"sample {name!r}: {said} for {called!r} in '{path}'; pass {argument}={{{name!r}: <file>}}")
    return files, problems


def _by_name(paths: Iterable[Path], suffixes: Sequence[str], ending: str) -> dict[str, list[Path]]:
    by_name: dict[str, list[Path]] = {}
    for path in sorted(paths, key=lambda one: natural_key(one.name)):
        if path.name.startswith(".") or not path.name.lower().endswith(tuple(suffixes)):
            continue
        name = bare(path.name, suffixes)
        if not name.lower().endswith(ending):
            continue
        name = name[: len(name) - len(ending)]
        for one in {name.casefold(), sample_name_or_empty(name).casefold()}:
            by_name.setdefault(one, []).append(path)
    return by_name


def sample_names(called: Iterable[str], suffixes: Sequence[str], source: str) -> dict[str, str]:
    """A sample for each name of an image: sample, and what it was called.

    Raises
    ------
    InputFileError
        If two names make the same sample, or one makes none.
    """
    names: dict[str, str] = {}
    for one in dict.fromkeys(called):
        name = sample_name_or_empty(bare(one, suffixes))
        if not name:
            raise InputFileError(f"No sample name can be made of {one!r} in {source}: rename the image.")
        same = next((other for other in names if other.casefold() == name.casefold()), None)
        if same is not None:
            raise InputFileError(f"{one!r} and {names[same]!r} of {source} would be one sample {same!r}. Rename one.")
        names[name] = one
    return names
