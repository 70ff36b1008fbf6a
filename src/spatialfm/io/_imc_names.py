"""Names of the channels of an imaging mass cytometer: what was typed in, or the metal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def imc_names(labels: Sequence[str], metals: Sequence[str], by: str) -> tuple[str, ...]:
    """One name for each channel, none twice.

    Parameters
    ----------
    labels
        What was typed into the instrument, such as ``"CD3_1841((3532))Er170"``; may be empty or occur twice.
    metals
        Isotopes, such as ``"Er170"``; each once.
    by
        ``"label"`` or ``"metal"``.

    Examples
    --------
    >>> imc_names(["DNA", "DNA", "", "CD3"], ["Ir191", "Ir193", "Xe131", "Er170"], "label")
    ('DNA_Ir191', 'DNA_Ir193', 'Xe131', 'CD3')
    """
    if by == "metal":
        return tuple(metals)
    texts = [label.strip() for label in labels]
    texts = [text or metal for text, metal in zip(texts, metals, strict=True)]
    n_of = Counter(text.casefold() for text in texts)
    return tuple(
        text if n_of[text.casefold()] == 1 else f"{text}_{metal}" for text, metal in zip(texts, metals, strict=True)
    )
