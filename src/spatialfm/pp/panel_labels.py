"""Text around the name of a marker in the name of a channel: metals, dyes, rounds, clones, hosts, remarks.

A label is only removed if it is alone between separators and is one of a closed list or form; what is left is
looked up to the letter. Every reading records what it left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from .panel_names import GLUED_TAG, ISOTOPE_TAG, OTHER_CASE_TAG


class NameReading(NamedTuple):
    """A way to read a channel's name."""

    text: str
    removed: tuple[str, ...] = ()  # all that was left out, in the order of removal
    remark: str = ""  # the part of it that may refer to the target
    replicate: bool = False  # a number at the end was taken for that of a repeated stain


_SEP = r"[\s\-_:|./(\[]"
_WAVELENGTH = (
    "(?:350|405|430|450|480|488|510|514|520|532|540|546|555|561|568|570|594|610|620|633|640|647|650|660|670|680|690"
    "|700|710|750|780|785|790)"
)
_DYE_SERIES = (
    r"alexa[-_ ]?(?:fluor(?:[-_ ]?plus)?)?|af|opal[-_ ]?(?:polaris)?|efluor|ef|ifluor|if|bv|buv|bb|sb|sparkyg|dylight"
    r"|dl|atto|cf|argo|argofluor|tsa|irdye|cl|coralite|vio|qd(?:ot)?|nl|hilyte|janelia|jf|sparkblue|superbright|pb|cyanine"
)  # each with a number
_FLUOROPHORE = (
    rf"(?:(?:{_DYE_SERIES})[-_ ]?\d{{3}}[lsrxc]?|a?{_WAVELENGTH}(?:nm)?"
    r"|(?:apc|pe|percp)[-_/ ]?(?:cy|cyanine|fire|vio|r)[-_ ]?\d+(?:\.5)?|cy[-_ ]?[2357](?:\.5)?|cyanine[-_ ]?[2357]"
    r"|argofluor|fitc|tritc|rhodamine|apc|pe|percp|texas[-_ ]?red|biotin|pacific[-_ ]?(?:blue|orange)|vividfix"
    r"|spectrum(?:aqua|gold)|farred|far[-_ ]red)"
)
_ROUND = (
    r"(?:cyc(?:le)?[-_ ]?\d+|cy\d+ch\d+|round[-_ ]?\d+|rnd[-_ ]?\d+|rd\d+|reg(?:ion)?[-_ ]?\d+|ch(?:annel)?[-_ ]?\d+"
    r"|image[-_ ]?\d+|scan[-_ ]?\d+|run[-_ ]?\d+|step[-_ ]?\d+"
    r"|\d+(?:\.\d+)?[_ ]?(?-i:ms(?:ec)?)"  # "CK 16-Ms" is from the mouse
    r"|1[:/]\d{2,5}|bx\d{3}|pyr\d+|spot(?:[-_ ]?\d+)?"  # dilutions, barcodes of Akoya, pyramids and spots of Cell DIVE
    r"|(?:af|autofluorescence|background|backgr|bckg|bkg|bg)[-_ ]*(?:removed|sub(?:tr|tracted)?|corr(?:ected)?)"
    r"(?:[-_ ]\d+)?"
    r"|exp(?:osure)?[-_ ]?\d+(?:ms)?|s0\d{2}|repl?(?:icate)?[-_ ]?\d+|dup(?:licate)?\d*)"
)
_START = re.compile(
    r"^(?:(?:img|image|chan|channel|marker|target|mean|median|sum)[-_: ]+(?=[a-z]))?"
    r"(?:(?:r\d+(?:\.\d+)*|c\d{1,2}(?=[-_. :]+[^-_. :]{3})|c0\d+|ch?\d{2,}|cy0\d+|\d{1,3}|#\d+)[-_.: ]+){0,2}(?=.)",
    re.IGNORECASE,
)
_FILE = re.compile(r"\.(?:ome(?:\.(?:tiff?|zarr|btf))?|tiff?|png|zarr|qptiff)$", re.IGNORECASE)
_BRACKETED_MASS = re.compile(r"(?<![A-Za-z])([A-Z][a-z])\((\d{2,3})\)")  # Nd(145)
_BRACKETED_METAL = re.compile(rf"\(({ISOTOPE_TAG.pattern})\)D[id](?![A-Za-z0-9])")  # CD3(Er170)Di
_TUBE = re.compile(r"\(\(\d+\)\)|_\d{3,}(?=$|\(|\s)")  # antibody tube and lot numbers of IMC instrument files
_ANTI = re.compile(
    r"^(?:(?:rabbit|mouse|rat|goat|rb|ms|rt|hamster)[-_ ]+)?anti[-_ ]+(?:(?:human|mouse|rat)[-_/ ]+)*|^human[-_ ]+",
    re.IGNORECASE,
)
_CLONE_WORD = re.compile(r"[-_ ]+clone[-_: ]+.*$", re.IGNORECASE)
_TAIL = re.compile(r"(?:\s+[-–—:|]\s+|:)(?P<tail>.*)$")
_PARENS = re.compile(r"[(\[{](?P<inside>[^()\[\]{}]*)[)\]}]")
_LAST_PARENS = re.compile(r"[(\[{][^()\[\]{}]*$")  # cut off by the instrument's limit of a name's length

_HOSTS = r"rat|rabbit|mouse|goat|sheep|hamster|chicken|rb|ms|rt|gt|hu|human|polyclonal|poly|monoclonal|mono|pab|mab|ab"
_STATISTIC = (
    r"mean|median|sum|std|intensity|raw|norm(?:alized)?|log|log1p|asinh|arcsinh|cell|cells|nuc(?:leus|lear|lei)?"
    r"|cyto(?:plasm|plasmic)?|mem|cellmask|nucleimasks?|cellmasks?|cellrings?(?:mask)?|nucleiring|min|max"
)
_END_WORD = re.compile(
    rf"[-_ .:]+(?:antibody|antibodies|protein|antigen|stain(?:ing)?|total|{_HOSTS}|{_STATISTIC}|cst|abcam"
    r"|biolegend|akoya|repeat(?:ed)?|copy|dako"
    r"|thermo|ebioscience|bd|santacruz|sigma|r&d|novus|rnd|opt|new|old|final|v\d)[-_ .:]*$",
    re.IGNORECASE,
)
_CLONE = re.compile(
    # clones by the schemes of their makers, and widely used ones
    r"[-_ .\[(]+(?:sp[-_ ]?\d{1,3}|epr[-_ ]?\d[\w-]*|[de]\d+[a-z]\d+[a-z]?\d?(?:[-_ ]?xp)?|mrq[-_ ]?\d+|qbend[-_/ ]?10"
    r"|jc[-_/ ]?70a?|\d{2,3}[a-z]\d{1,3}|\d{2}[-_]\d{1,2}|c8[-_/ ]?144b|236a[-_/ ]?e7|pg-?m1|kp[-_ ]?1|l26|uchl1|uchl-1"
    r"|mib-?1|blr\d+[a-z]|arc\d+|ab\d{4,}|sc-?\d{3,}|mab\d{3,}|af\d{4}|cst\d{3,}|\d{4,7}[a-z]?|ep\d{3,}y?|[a-z]{1,2}\d{5,}"
    r"|eh33|ucht1|okt[-_ ]?\d+|hit\d+[a-z]?|poly\d{4,}|ra3-?6b2|m1[-_/ ]?70|yts\d+[.\d]*|gk1\.?5|53-?6\.7|145-?2c11"
    r"|do-?[17]|nat-?105|a103|1a4|rm[42]-?5|bc-?28|4a4|8g7g3(?:/1)?|ber-?ep4|moc-?31|1d5|6f11|cb11|pgr-?636|hi100|hi30"
    r"|wm59|rpa-t[48]|g8\.8|17a2|1a8|2\.4g2|h57-?597|d5f3|t311"
    r"|cat(?:alog)?\.?[ ]?#[ ]?\w+|#[ ]?\d{3,}|\d{2}-\d{4}(?:-\d{2})?"  # catalogue numbers
    r"|30-?f11|n418|m5[-_/ ]?114(?:\.15\.2)?|mec[-_ ]?13\.3|fjk-?16s|bm8|rb6-?8c5|ly-?76)[-_ .)\]]*$",
    re.IGNORECASE,
)
_PHOSPHO_END = re.compile(
    r"[-_ ]*(?P<site>p?(?:Ser|Thr|Tyr|(?<=[-_ ])[STY]|(?<=[-_ ]p)[STY])[-_ ]?\d{2,4}"
    r"(?:[-_/]p?(?:Ser|Thr|Tyr|[STY])?\d{2,4})*)$"
)
_BARE_METAL = re.compile(r"[-_ ](?:Ga|Nd|Sm|Eu|Gd|Tb|Dy|Ho|Tm|Yb|Lu|Bi|Pt)$")
_REPLICATE = re.compile(r"[-_ .](?:#\s*)?[1-4]$|#\s*[1-4]$")
_MASS = re.compile(r"\d\d")
_FLUOROPHORE_ALONE = re.compile(_FLUOROPHORE, re.IGNORECASE)
_BOUNDED = tuple(
    re.compile(rf"(?:^|(?<={_SEP})){label}(?=$|[\s\-_:|./)\]])", re.IGNORECASE) for label in (_ROUND, _FLUOROPHORE)
)


def readings(name: str) -> Iterator[NameReading]:
    """Readings of a channel's name, from the whole one to the barest.

    First go metals, dyes, staining rounds, tube numbers and words like ``anti-``, which are unrelated to the target;
    then remarks in parentheses, then those behind a dash or colon, then clones, hosts and the words of statistics, and
    last the number of a repeated stain.

    Examples
    --------
    >>> [reading.text for reading in readings("CD8 - cytotoxic T cells:Cyc_3_ch_2")]
    ['CD8 - cytotoxic T cells:Cyc_3_ch_2', 'CD8 - cytotoxic T cells', 'CD8']
    >>> [reading.removed for reading in readings("R6.0.4_CY7_KI67")]
    [(), ('R6.0.4', 'CY7')]
    """
    seen: set[str] = set()
    name = re.sub(r"^white(?=\d)", "", name.strip(), flags=re.IGNORECASE)  # a colour of an export
    for reading in _readings(name):
        if reading.text and reading.text not in seen:
            seen.add(reading.text)
            yield reading


def _readings(name: str) -> Iterator[NameReading]:
    yield NameReading(name)
    bare = _without_labels(name)
    yield bare
    inside = " ".join(match["inside"] for match in _PARENS.finditer(bare.text))
    outside = _trim(_LAST_PARENS.sub(" ", _PARENS.sub(" ", bare.text)))
    gone = bare.removed + tuple(match[0] for match in _PARENS.finditer(bare.text))
    if not outside:  # "Opal 520 (CD8)": the dye is gone, the target is in parentheses
        yield NameReading(_trim(inside), bare.removed)
    last = NameReading(outside, gone, inside)
    yield last
    if tail := _TAIL.search(outside):
        last = NameReading(_trim(outside[: tail.start()]), (*gone, tail[0].strip()), f"{inside} {tail['tail']}")
        yield last
    for step in (_without_clone_word, _without_site, _without_ends):
        shorter = step(last)
        if shorter.text != last.text:
            yield shorter
            last = shorter
    again = _without_labels(last.text)  # "CD4 BV510 (GK1.5)_100ms"
    if again.text != last.text:
        last = NameReading(again.text, last.removed + again.removed, last.remark)
        yield last
    if number := _REPLICATE.search(last.text):
        yield NameReading(_trim(last.text[: number.start()]), (*last.removed, number[0]), last.remark, replicate=True)


def _take(text: str, pattern: re.Pattern[str], removed: list[str], put: str = " ") -> str:
    def note(match: re.Match[str]) -> str:
        if gone := _trim(match[0]):
            removed.append(gone)
        return put

    return pattern.sub(note, text)


def _without_labels(name: str) -> NameReading:
    removed: list[str] = []
    text = _take(name, _FILE, removed, "")
    if _MASS.search(name):  # the patterns of metals are long
        text = _BRACKETED_MASS.sub(r"\1\2", _take(text, _BRACKETED_METAL, removed))
        for pattern in (ISOTOPE_TAG, OTHER_CASE_TAG, GLUED_TAG, _TUBE):
            text = _take(text, pattern, removed)
    text = _trim(_take(_trim(text), _START, removed, ""))
    for pattern in _BOUNDED:
        text = _take(text, pattern, removed)
    text = _take(_trim(re.sub(r"[(\[]\s*[)\]]", " ", text)), _ANTI, removed, "")
    return NameReading(_trim(_take(_trim(text), _BARE_METAL, removed, "")), tuple(removed))


def _without_clone_word(reading: NameReading) -> NameReading:
    return _shortened(reading, _CLONE_WORD)


def _without_site(reading: NameReading) -> NameReading:
    match = _PHOSPHO_END.search(reading.text)
    if not match or not reading.text[: match.start()]:
        return reading
    site = match["site"]
    text = _trim(reading.text[: match.start()])
    return NameReading(text, (*reading.removed, site), f"{reading.remark} {site}")


def _without_ends(reading: NameReading) -> NameReading:
    """Without clones, hosts, statistics and catalogue numbers at the end, as many as there are."""
    while True:
        shorter = _shortened(_shortened(reading, _END_WORD), _CLONE)
        if shorter.text == reading.text:
            return reading
        reading = shorter


def _shortened(reading: NameReading, pattern: re.Pattern[str]) -> NameReading:
    match = pattern.search(reading.text)
    if not match or match.start() == 0:
        return reading
    gone = _trim(match[0])
    return NameReading(_trim(reading.text[: match.start()]), (*reading.removed, gone), f"{reading.remark} ({gone})")


def _trim(text: str) -> str:
    return " ".join(text.strip(" -_:|.,/\t\n").split())


def remarks(reading: NameReading) -> list[str]:
    """What was left out and may name a target: remarks in parentheses, clones, words at the end."""
    return [match["inside"].strip() for match in _PARENS.finditer(reading.remark)] + [
        gone.strip("()[]{} :-") for gone in reading.removed
    ]


def parts(name: str) -> Iterator[list[str]]:
    """Ways to cut a name that combines several names: ``CD274/PD-L1``, ``TCF7-TCF1``, ``CD279_PD-1``."""
    name = _PARENS.sub(" ", name).strip()
    for separators in (r"\s*[/+,|&;]\s*|\s+(?:and|or)\s+", r"[\s/+,|&;_\-]+"):
        cut = [part for part in re.split(separators, name) if part]
        if len(cut) > 1:
            yield cut
    if len(cut) > 2:
        yield from halves(name)


def halves(name: str) -> Iterator[list[str]]:
    """A name cut once, at each of its separators."""
    for gap in re.finditer(r"[^A-Za-z0-9]+", name):
        if 0 < gap.start() and gap.end() < len(name):
            yield [name[: gap.start()], name[gap.end() :]]


def is_fluorophore(name: str) -> bool:
    """Whether a name is only that of a dye: the marker that it carries must be given."""
    return _FLUOROPHORE_ALONE.fullmatch(name.strip()) is not None
