"""How a channel name becomes the key by which a marker is looked up, and which names carry no marker.

Everything here is text in, text out: nothing is compared by similarity, and nothing depends on the table of markers.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ϵ": "epsilon", "ζ": "zeta",
    "κ": "kappa", "λ": "lambda", "μ": "mu",
}  # fmt: skip

# spelled-out letters that name a subunit (CD8 alpha, TCR gamma/delta); kappa and lambda name their own chains
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

# metals written in another case than IUPAC's, or glued to the name; never Cd (CD111 is a protein)
_LANTHANIDE = _isotopes({metal: masses for metal, masses in _TAG_MASSES.items() if metal not in ("Cd", "I", "Y")})
OTHER_CASE_TAG = re.compile(_EDGE[0] + _LANTHANIDE + _EDGE[1], re.IGNORECASE)
GLUED_TAG = re.compile(rf"(?<=[A-Za-z0-9])(?<![A-Z]){_LANTHANIDE}$|(?:^|(?<=[-_ ]))\d{{5,}}{_LANTHANIDE}(?=$|[-_ ])")

_HOST = r"(?:goat|donkey|rabbit|mouse|rat|hamster|chicken|sheep|guinea[-_ ]?pig|horse|swine|human)"
_HOST_LETTERS = rf"(?:{_HOST}|gt|dk|rb|ms|rt|ch|d|g|m|r)"
_DYE = (
    r"(?:a|af|alexa[-_ ]?(?:fluor)?|opal|cf|dylight|bv|atto|hrp)?[-_ ]?\d{3}(?:nm)?|cy[-_ ]?\d(?:\.5)?|fitc|tritc|apc"
    r"|pe|hrp|biotin|texas[-_ ]?red|alexa|opal"
)
_ANTI_HOST = rf"anti[-_ ]*{_HOST}"
_IG = r"ig(?:g|m|a|e|y)?\d?[a-c]?(?:[-_ ]?(?:k|kappa|lambda))?(?:[-_ ]?\(h\+l\)|[-_ ]?h[-_+ ]*l)?"
_DYE_END = r"(?:[-_ ].*|\d*)"

IGNORED_PATTERNS: tuple[tuple[str, str], ...] = (
    (r"[\W_]*", "empty name"),
    (r"(?:blank|empty|unused|none|null|no[-_ ]?stain|no[-_ ]?antibody|unstained|not[-_ ]?used|n/a)(?:[-_ .:(].*|\d*)",
     "blank channel"),
    (r"(?:nan|unknown|unnamed|undefined|dummy|placeholder)(?:[-_ ]?\d+)?", "blank channel"),
    (r".*[-_ ](?:blank|empty|unstained)\d*", "blank channel"),
    (r"(?:sample[-_ ]?)?af[-_ ]?\d?(?:[-_ ](?:sub|removed|ch\d))?", "autofluorescence"),
    (r"(?:.*[-_ ])?auto[-_ ]?fluo?\w*(?:[-_ (].*)?", "autofluorescence"),
    (r"(?:fitc|tritc|cy\d(?:\.5)?|dapi|texasred|\d{3}(?:nm)?)[-_ ]af", "autofluorescence"),
    (r"af[-_ ](?:dapi|fitc|tritc|cy[-_ ]?\d(?:\.5)?|texas[-_ ]?red|blue|green|yellow|red)", "autofluorescence"),
    (r"(?:background|backgnd|bckgr?n?d?|bkgd?|bg|noise)(?:[-_ ]?(?:scan|\d+).*)?", "background"),
    (r"(?:a|af)?\d{2,3}(?:nm)?[-_ ]?(?:bckg|bkg|bg|background)|white\d+bckg", "background"),
    (r"(?:[-_ \w]*[-_ ])?(?:scan)[-_ ]?background|background[-_ ]?\w*scan\w*", "background"),
    (rf"(?:hu|hs|ms|mouse|rb|rabbit|rat|rt|goat|gt|hamster|hmr|ham|donkey|sheep)[-_ ]?{_IG}{_DYE_END}",
     "control without a target"),
    (rf"(?:{_IG}[-_ ]*)?(?:isotype)(?:[-_ ].*|\d*)|{_IG}[-_ ](?:isotype|control|ctrl)(?:[-_ ].*)?",
     "control without a target"),
    (r"(?:neg(?:ative)?|pos(?:itive)?|no[-_ ]?primary|staining|fmo|technical)[-_ ]?(?:control|ctrl|ctl)(?:[-_ ].*|\d*)",
     "control without a target"),
    (r"(?:control|ctrl|ctl)(?:[-_ ]?\d+(?:nm)?|[-_ ](?:channel|\d.*))?", "control without a target"),
    (rf"(?:2nd|secondary|secondaries|2ndary)(?:[-_ ]?(?:ab|antibody|antibodies|only|control|ctrl|alone))?{_DYE_END}",
     "secondary antibody"),
    # letters that denote hosts count only between separators: RAD21, MART-1 and MAG are not secondary antibodies
    (rf"(?:{_HOST}|gt|dk|rb|ms|rt)[-_ ]*anti[-_ ]*{_HOST_LETTERS}(?:[-_ ]*{_IG})?(?:[-_ ]+(?:{_DYE}))*",
     "secondary antibody"),
    (rf"{_HOST_LETTERS}[-_ ]+(?:anti|a)[-_ ]+{_HOST_LETTERS}(?:[-_ ]*{_IG})?(?:[-_ ]+(?:{_DYE}))*",
     "secondary antibody"),
    (rf"{_HOST_LETTERS}[-_ ]*[@α][-_ ]*{_HOST_LETTERS}(?:[-_ ]*{_IG})?(?:[-_ ]+(?:{_DYE}))*", "secondary antibody"),
    (rf"{_ANTI_HOST}(?:(?<!human)[-_ ]*{_IG})?(?:[-_ ]+(?:{_DYE}))*", "secondary antibody"),
    (r"(?:anti[-_ ]?)?streptavidin(?:[-_ ].*)?|hrp|neutravidin", "secondary antibody"),
    (r"80arar|arar[-_ (]*80\)?|argon(?:[-_ ]?dimers?|[-_ ]?\d+)?|ruthenium|xenon|iodine|lead|barium|caesium",
     "background metal"),
    (r"gold|carbon|sodium|calcium|iron|silicon|phosphorus|sulfur|sulphur|tantalum|potassium|magnesium|copper|zinc"
     r"|aluminium|aluminum|chlorine",
     "element of tissue or slide"),
    (r"eq(?:[-_ ]?(?:beads?|\d))?|(?:calibration|normali[sz]ation)?[-_ ]?beads?", "calibration beads"),
    (r"h\s?&\s?e(?:[-_ ].*)?|h[-_ ]and[-_ ]e|hematoxylin|haematoxylin|eosin|bright[-_ ]?field"
     r"|transmitted(?:[-_ ]light)?|dic|phase[-_ ]?contrast",
     "light microscopy, no marker"),
    (r"(?:cells?|nucle(?:i|us|ar)|nuc|cyto(?:plasm)?|membrane|tissue|segmentation|seg)?[-_ ]?masks?", "mask"),
    (r"membrane|sum|mean|max|composite|total[-_ ]?ion[-_ ]?count|tic", "made from other channels"),
    (r"cisplatin|viability|live[-_ /]?dead|barcode\d*|event[-_ ]?length|time|center|centre|offset|residual",
     "acquisition, no marker"),
)  # fmt: skip
"""Names that carry no marker: regular expression for the whole lower-case name, and what it means."""

_IGNORED = tuple((re.compile(pattern), reason) for pattern, reason in IGNORED_PATTERNS)
_ANY_IGNORED = re.compile("|".join(f"(?:{pattern})" for pattern, _ in IGNORED_PATTERNS))
_METAL_WORD = re.compile(r"argon|ruthenium|xenon|iodine|lead|barium|caesium|bckg|bkg|background")  # next to an isotope
_BARE_ELEMENTS = frozenset(
    {"Au", "Ca", "Fe", "Na", "P", "Si", "Ta", "C", "S", "Al", "Cl", "Cu", "K", "Mg", "Ti", "Zn", "Pb", "Xe", "Ba"}
)
_STAIN = re.compile(
    r"(dapi|hoechst|draq5|dna|nuclei|iridium|sytox|hoechst33342)[._]?(?:cycle|cyc|round|ch|c|r|channel)?[._]?\d{1,3}"
)

_BETWEEN_DIGITS = re.compile(r"(?<=\d)[^a-z0-9]+(?=\d)")
_NO_KEY = re.compile(r"(?<!\d)[^a-z0-9]+|[^a-z0-9]+(?!\d)|[^a-z0-9._]")
_SUBUNIT = re.compile("|".join(_SUBUNIT_LETTERS))
_PHOSPHO = re.compile(r"^phospho(?:rylated)?(?=.)")

# words that mark an antibody against a modified protein: never dropped as a remark
_MODIFICATION = re.compile(
    r"phos|cleav|acetyl|methyl|citrullin|ubiquit|active|mutant|\bp?-?(?:Ser|Thr|Tyr|[STY])-?\d{2,}|\bp[STY]\d*\b"
    r"|\b[A-Z]\d{3}[A-Z]\b|K\d+(?:ac|me)|\bme[123]\b|\bac\b",
    re.IGNORECASE,
)
_PHOSPHO_SITE = re.compile(
    r"^\W*(?:phospho\w*|p)?[-_ ]*(?:(?:Ser|Thr|Tyr|[STY])-?\d{2,4}[-_/, ]*"
    r"(?:p?(?:Ser|Thr|Tyr|[STY])?-?\d{2,4}[-_/, ]*)*)?\W*$"
)


@lru_cache(maxsize=65536)
def normalize_marker_name(name: str) -> str:
    """Key of a marker's name: case, separators and the way Greek letters are written do not count.

    A separator between two digits counts, as ``CD3 1`` is not CD31: it becomes ``.`` or, where it was a space or an
    underscore, ``_``.

    Parameters
    ----------
    name
        Any spelling.

    Returns
    -------
    Lower-case letters and digits, with ``.`` or ``_`` between digits; equal keys are equal names.

    Examples
    --------
    >>> normalize_marker_name("CD8_alpha"), normalize_marker_name("CD8α"), normalize_marker_name("CD8a")
    ('cd8a', 'cd8a', 'cd8a')
    >>> normalize_marker_name("Phospho-S6"), normalize_marker_name("p-S6")
    ('ps6', 'ps6')
    >>> normalize_marker_name("NKX6-1"), normalize_marker_name("CD45_1")
    ('nkx6.1', 'cd45_1')
    """
    text = name
    if not name.isascii():
        # a German sharp s is typed for beta, and casefold would make it "ss"
        text = unicodedata.normalize("NFKC", re.sub(r"(?<![a-zA-Z])ß|ß(?![a-zA-Z])", "β", name)).casefold()
        for letter, spelled in GREEK.items():
            text = text.replace(letter, spelled)
    text = text.lower()
    key = _BETWEEN_DIGITS.sub(lambda gap: "." if gap[0].strip(" _\t\n") else "_", text)
    key = _NO_KEY.sub("", key)
    if key in _SUBUNIT_LETTERS:
        return key
    key = _SUBUNIT.sub(lambda word: _SUBUNIT_LETTERS[word[0]], key)
    return _PHOSPHO.sub("p", key) if key.startswith("phospho") else key


def is_modification(remark: str) -> bool:
    """Whether a remark refers to a modified protein (phosphorylated, cleaved, mutant), which is another target."""
    return bool(_MODIFICATION.search(remark))


def is_phosphorylation(remark: str) -> bool:
    """Whether a remark states that the protein is phosphorylated, and nothing else.

    Examples
    --------
    >>> is_phosphorylation("pY705"), is_phosphorylation("phospho T202/Y204"), is_phosphorylation("L858R")
    (True, True, False)
    """
    text = remark.strip()
    return re.match(r"\W*(?:phos|p[-_ ]*(?:Ser|Thr|Tyr|[STY]\d))", text, re.IGNORECASE) is not None and (
        _PHOSPHO_SITE.match(text) is not None
    )


def without_round(key: str) -> str:
    """Key of a nuclear stain without the number of its staining round: ``dapi01`` and ``hoechst1``."""
    match = _STAIN.fullmatch(key)
    return match[1] if match else key


def ignored_reason(name: str) -> str | None:
    """Why a channel carries no marker; None where it may carry one.

    Examples
    --------
    >>> ignored_reason("131Xe"), ignored_reason("Blank-Cy3-cyc01"), ignored_reason("CD3")
    ('bare isotope', 'blank channel', None)
    >>> ignored_reason("goat_anti_rabbit"), ignored_reason("S"), ignored_reason("S100")
    ('secondary antibody', 'element of tissue or slide', None)
    """
    name = name.strip()
    lower = name.casefold()
    if _ANY_IGNORED.fullmatch(lower):
        return next(reason for pattern, reason in _IGNORED if pattern.fullmatch(lower))
    # "Dy162", "Dy162(Dy162Di)", "162Dy_Dy162": a mass channel without a name; iridium stains DNA
    tokens = [token for token in re.split(r"[\s_\-()\[\]:.]+", name) if token]
    if all(_BARE_ISOTOPE.fullmatch(token) or _METAL_WORD.fullmatch(token.lower()) for token in tokens):
        return None if all(_DNA_ISOTOPE.fullmatch(token) for token in tokens) else "bare isotope"
    return "element of tissue or slide" if name in _BARE_ELEMENTS else None
