"""How a channel name becomes the key by which a marker is looked up.

Everything here is text in, text out: nothing is compared by similarity, and nothing knows the table of markers.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ϵ": "epsilon", "ζ": "zeta",
    "κ": "kappa", "λ": "lambda", "μ": "mu",
}  # fmt: skip

# spelled-out letters that name a subunit (CD8 alpha, TCR gamma/delta); kappa and lambda name chains of their own
_SUBUNIT_LETTERS = {"alpha": "a", "beta": "b", "gamma": "g", "delta": "d", "epsilon": "e", "zeta": "z"}

# mass numbers of the metals that carry antibodies in mass cytometry and ion beam imaging
_TAG_MASSES = {
    "Y": (89,), "Rh": (103,), "Pd": (102, 104, 105, 106, 108, 110), "Ag": (107, 109),
    "Cd": (106, 108, 110, 111, 112, 113, 114, 116), "In": (113, 115), "La": (138, 139), "Ce": (140, 142),
    "Pr": (141,), "Nd": (142, 143, 144, 145, 146, 148, 150), "Sm": (144, 147, 148, 149, 150, 152, 154),
    "Eu": (151, 153), "Gd": (152, 154, 155, 156, 157, 158, 160), "Tb": (159,),
    "Dy": (156, 158, 160, 161, 162, 163, 164), "Ho": (165,), "Er": (162, 164, 166, 167, 168, 170), "Tm": (169,),
    "Yb": (168, 170, 171, 172, 173, 174, 176), "Lu": (175, 176), "Ir": (191, 193),
    "Pt": (190, 192, 194, 195, 196, 198), "Bi": (209,), "I": (127,),
}  # fmt: skip

# elements of tissue, slide, gas and counterstain, measured without an antibody
_BACKGROUND_MASSES = {
    "C": (12, 13), "N": (14, 15), "O": (16,), "F": (19,), "Na": (23,), "Mg": (24, 25, 26), "Al": (27,),
    "Si": (28, 29, 30), "P": (31,), "S": (32,), "Cl": (35, 37), "K": (39, 41), "Ca": (40, 42, 43, 44), "Ti": (48,),
    "Fe": (54, 56, 57), "Cu": (63, 65), "Zn": (64, 66, 68), "Ar": (40, 80),
    "Ru": (96, 98, 99, 100, 101, 102, 104), "Sn": (112, 114, 115, 116, 117, 118, 119, 120, 122, 124),
    "Te": (120, 122, 123, 124, 125, 126, 128, 130), "Xe": (124, 126, 128, 129, 130, 131, 132, 134, 136),
    "Cs": (133,), "Ba": (130, 132, 134, 135, 136, 137, 138), "Ta": (180, 181),
    "Os": (184, 186, 187, 188, 189, 190, 192), "Au": (197,), "Hg": (196, 198, 199, 200, 201, 202, 204),
    "Pb": (204, 206, 207, 208),
}  # fmt: skip

_EDGE = r"(?<![A-Za-z0-9])", r"(?![A-Za-z0-9])"


def _isotopes(masses: dict[str, tuple[int, ...]]) -> str:
    spelled = (rf"(?:{mass}{symbol}|{symbol}{mass})" for symbol, numbers in masses.items() for mass in numbers)
    return f"(?:{'|'.join(spelled)})(?:D[id])?"


ISOTOPE_TAG = re.compile(_EDGE[0] + _isotopes(_TAG_MASSES) + _EDGE[1])
_BARE_ISOTOPE = re.compile(_isotopes({**_TAG_MASSES, **_BACKGROUND_MASSES}))
_DNA_ISOTOPE = re.compile(r"(?:(?:191|193)Ir|Ir(?:191|193))(?:D[id])?")

IGNORED_PATTERNS: tuple[tuple[str, str], ...] = (
    (r"", "empty name"),
    (r"(?:blank|empty|unused|none|null|no[-_ ]?stain|unstained)(?:[-_ .:].*|\d*)", "blank channel"),
    (r"af[-_ ]?\d?|auto[-_ ]?fluo?\w*(?:[-_ ].*)?", "autofluorescence"),
    (r"(?:background|backgnd|bckg|bkg|bg|noise)(?:[-_ ]?\d*)|\d+bckg", "background"),
    (r"(?:ms|mouse|rb|rabbit|rat|goat)[-_ ]?igg\d?[a-c]?", "control without a target"),
    (r"(?:isotype|neg(?:ative)?|secondary)[-_ ]?(?:control|ctrl|only)(?:[-_ ].*|\d*)", "control without a target"),
    (r"80arar|arar80|argon(?:[-_ ]dimers?)?|ruthenium|xenon", "background metal"),
)
"""Names that carry no marker: regular expression for the whole lower-case name, and what it means."""

_BARE_ELEMENTS = frozenset({"Au", "Ca", "Fe", "Na", "P", "Si", "Ta", "C"})

_WAVELENGTH = "(?:405|488|520|532|546|555|568|570|594|620|633|647|650|660|680|690|700|750|780|790)"
_DYE_SERIES = (
    r"alexa[-_ ]?(?:fluor)?|af|opal[-_ ]?(?:polaris)?|efluor|ef|ifluor|if|bv|dylight|dl|atto|cf|argo|tsa"  # + number
)
_FLUOROPHORE = (
    rf"(?:(?:{_DYE_SERIES})[-_ ]?\d{{3}}[ls]?|a?{_WAVELENGTH}|cy[-_ ]?[2357](?:\.5)?|fitc|tritc|apc|pe|texas[-_ ]?red)"
)
_ROUND = r"(?:cyc(?:le)?[-_ ]?\d+|round[-_ ]?\d+|reg(?:ion)?[-_ ]?\d+|ch(?:annel)?[-_ ]?\d+)"
_TUBE = re.compile(r"\(\(\d+\)\)|_\d{3,}(?=$|\(|\s)")  # antibody tube and lot numbers of IMC instrument files
_PREFIX = re.compile(r"^(?:anti[-_ ]+(?:human[-_ ]+)?|human[-_ ]+)", re.IGNORECASE)
_SUFFIX = re.compile(r"[-_ ]+(?:antibody|ab|mab)$", re.IGNORECASE)
_TAIL = re.compile(r"(?:\s+[-–—:|]\s+|:)(?P<tail>.*)$")
_PARENS = re.compile(r"[(\[{](?P<inside>[^()\[\]{}]*)[)\]}]")
_CLONE = re.compile(r"[-_ ]+clone[-_: ]+.*$", re.IGNORECASE)
_STAIN = re.compile(r"(dapi|hoechst|draq5|dna|nuclei)(?:cycle|cyc|round|ch|c|r)?\d{1,3}")

# what an antibody against a modified protein says of itself: never to be dropped as if it were a remark
_MODIFICATION = re.compile(
    r"phos|cleav|acetyl|methyl|citrullin|ubiquit|active|mutant|\bp?-?(?:Ser|Thr|Tyr|[STY])-?\d{2,}|\bp[STY]\d*\b"
    r"|\b[A-Z]\d{3}[A-Z]\b|K\d+(?:ac|me)|\bme[123]\b|\bac\b",
    re.IGNORECASE,
)


def normalize_marker_name(name: str) -> str:
    """Key of a marker's name: case, separators and the way Greek letters are written do not count.

    Parameters
    ----------
    name
        Any spelling.

    Returns
    -------
    Lower-case letters and digits; equal keys are equal names.

    Examples
    --------
    >>> normalize_marker_name("CD8_alpha"), normalize_marker_name("CD8α"), normalize_marker_name("CD8a")
    ('cd8a', 'cd8a', 'cd8a')
    >>> normalize_marker_name("Phospho-S6"), normalize_marker_name("p-S6")
    ('ps6', 'ps6')
    """
    text = unicodedata.normalize("NFKC", name).casefold()
    for letter, spelled in GREEK.items():
        text = text.replace(letter, spelled)
    key = re.sub(r"[^a-z0-9]", "", text)
    if key in _SUBUNIT_LETTERS:
        return key
    for spelled, letter in _SUBUNIT_LETTERS.items():
        key = key.replace(spelled, letter)
    return re.sub(r"^phospho(?=.)", "p", key)


def spellings(name: str) -> Iterator[tuple[str, str]]:
    """Spellings of a channel name, from the whole one to the barest, each with the remark that it leaves out.

    First come metals, dyes, staining rounds, tube numbers and words like ``anti-``, which say nothing of the target;
    then remarks in parentheses, then those behind a dash or colon.

    Examples
    --------
    >>> [text for text, _ in spellings("CD8 - cytotoxic T cells:Cyc_3_ch_2")]
    ['CD8 - cytotoxic T cells:Cyc_3_ch_2', 'CD8 - cytotoxic T cells', 'CD8']
    """
    seen = set()
    for text, removed in _spellings(name.strip()):
        if text and text not in seen:
            seen.add(text)
            yield text, removed


def _spellings(name: str) -> Iterator[tuple[str, str]]:
    yield name, ""
    bare = _without_labels(name)
    yield bare, ""
    inside = " ".join(match["inside"] for match in _PARENS.finditer(bare))
    outside = _trim(_PARENS.sub(" ", bare))
    if not outside:  # "Opal 520 (CD8)": the dye is gone, the target stands in parentheses
        yield _trim(inside), ""
    yield outside, inside
    tail = _TAIL.search(outside)
    if tail:
        yield _trim(outside[: tail.start()]), f"{inside} {tail['tail']}"
    yield _trim(_CLONE.sub("", outside)), inside


def _without_labels(name: str) -> str:
    text = ISOTOPE_TAG.sub(" ", name)
    text = _TUBE.sub("", text)
    for label in (_ROUND, _FLUOROPHORE):
        bounded = rf"(?:^|(?<=[\s\-_:|./(\[])){label}(?=$|[\s\-_:|./)\]])"
        text = re.sub(bounded, " ", text, flags=re.IGNORECASE)
    text = re.sub(r"[(\[]\s*[)\]]", " ", text)
    return _trim(_SUFFIX.sub("", _PREFIX.sub("", _trim(text))))


def _trim(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"^[\s\-_:|.,/]+|[\s\-_:|.,/]+$", "", text))


def is_modification(remark: str) -> bool:
    """Whether a remark tells of a modified protein (phosphorylated, cleaved, mutant), which is another target."""
    return bool(_MODIFICATION.search(remark))


def without_round(key: str) -> str:
    """Key of a nuclear stain without the number of its staining round: ``dapi01`` and ``hoechst1``."""
    match = _STAIN.fullmatch(key)
    return match[1] if match else key


def remarks(name: str) -> list[str]:
    """What stands in parentheses."""
    return [match["inside"].strip() for match in _PARENS.finditer(name)]


def parts(name: str) -> Iterator[list[str]]:
    """Ways to cut a name that says several things at once: ``CD274/PD-L1``, ``TCF7-TCF1``, ``CD31-vWF``."""
    for separators in (r"\s*[/+,|&;]\s*", r"[\s/+,|&;_\-]+"):
        cut = [part for part in re.split(separators, _PARENS.sub(" ", name).strip()) if part]
        if len(cut) > 1:
            yield cut


def ignored_reason(name: str) -> str | None:
    """Why a channel carries no marker; None where it may carry one.

    Examples
    --------
    >>> ignored_reason("131Xe"), ignored_reason("Blank-Cy3-cyc01"), ignored_reason("CD3")
    ('bare isotope', 'blank channel', None)
    """
    name = name.strip()
    for pattern, reason in IGNORED_PATTERNS:
        if re.fullmatch(pattern, name.casefold()):
            return reason
    # "Dy162", "Dy162(Dy162Di)", "162Dy_Dy162": a mass channel that nobody named; iridium stains DNA
    tokens = [token for token in re.split(r"[\s_\-()\[\]:]+", name) if token]
    if all(_BARE_ISOTOPE.fullmatch(token) for token in tokens):
        return None if all(_DNA_ISOTOPE.fullmatch(token) for token in tokens) else "bare isotope"
    return "element of tissue or slide" if name in _BARE_ELEMENTS else None


def is_fluorophore(name: str) -> bool:
    """Whether a name is only that of a dye: the marker that it carries must be said."""
    return re.fullmatch(_FLUOROPHORE, name.strip(), flags=re.IGNORECASE) is not None
