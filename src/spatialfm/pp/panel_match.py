"""What a channel's name means: the first of its readings that the table has to the letter, and what contradicts it."""

from __future__ import annotations

import re
from functools import lru_cache

from .panel_index import (
    Match,
    Species,
    facts_of,
    find,
    find_gene,
    is_gene_symbol,
    is_modified,
    is_spelled_so,
    rows,
    suggest,
)
from .panel_labels import NameReading, halves, is_fluorophore, parts, readings, remarks
from .panel_names import ignored_reason, is_modification, is_phosphorylation, normalize_marker_name

_METAL_OR_MARKER = frozenset({"Ar", "Cs", "Er", "Pr"})  # argon, caesium, erbium, praseodymium as IUPAC writes them


@lru_cache(maxsize=65536)
def match_name(name: str, species: Species = "human") -> Match:
    """Marker of one name: the first reading that the table has to the letter."""
    if re.fullmatch(r"\s*c\d\s*", name):  # a channel's number more often than complement C3
        return Match("ambiguous", suggestions=(name.strip().upper(),), via="the number of a channel or a marker")
    if name.strip() in _METAL_OR_MARKER:
        return Match("ambiguous", suggestions=(name.strip().upper(),), via="the symbol of an element or a marker")
    if direct := find(name, species):
        return _torn(direct, name, species)
    reason = ignored_reason(name)
    also = _named_beside(name, reason, species) if reason else ""
    if reason and not also:
        return Match("ignored", via=reason)
    if _only_dyes(name):
        return Match("unknown", via="a dye: give its marker in mapping=")
    ways = []
    for way in readings(name):
        ways.append(way)
        if match := _read_as(way, name, species):
            return match
    if not reason and len(ways) > 1 and len(ways[1].text) > 1 and (reason := ignored_reason(ways[1].text)):
        also = _named_beside(name, reason, species)
        if not also:
            return Match("ignored", via=reason, stripped=ways[1].removed)
    if reason:
        return Match("ambiguous", suggestions=(also,), via=f"{reason}, or a marker")
    plain = [way for way in ways if not is_modification(way.remark) and not way.replicate]
    for way in plain:
        if match := _several(way, species):
            return match
    for way in plain:
        if gene := find_gene(way.text):
            if joined := _joined(gene, way, species):
                return Match("ambiguous", suggestions=(gene.marker, joined), via="number next to the name")
            return _contradicted(_with(_one_gene(gene, way.text, species), way), way, species)
    return Match("unknown", suggestions=suggest([ways[0].text, ways[-1].text] if ways else []))


def _only_dyes(name: str) -> bool:
    if is_fluorophore(name):
        return True
    words = [word for word in re.split(r"[-_ :()]+", name) if word]
    dyes = [word for word in words if is_fluorophore(word)]
    others = [word for word in words if word not in dyes]
    rounds = all(re.fullmatch(r"(?:cycle|round|r|c)?[\d.]+", word, re.IGNORECASE) for word in others)
    return rounds and not all(word.isdigit() for word in dyes)


_LEFT_OUT_ALONE = ("blank", "autofluorescence", "background", "made from", "light", "mask", "secondary")


def _named_beside(name: str, reason: str, species: Species) -> str:
    """The marker in a name that otherwise would be ignored (``CD8_autofluorescence``, ``MAX``): it must be reported."""
    if is_gene_symbol(name.strip()) and not reason.startswith("control"):
        return name.strip()
    if not reason.startswith(_LEFT_OUT_ALONE):
        return ""
    words = [word for word in re.split(r"[\s_:|()\[\]]+", name) if word]
    runs = [" ".join(words[i:j]) for i in range(len(words)) for j in range(min(len(words), i + 4), i, -1)]
    tails = [run[gap.end() :] for run in runs for gap in re.finditer("-", run)]  # "AF488-Gal-3"
    for run in (*runs, *tails, *(word.split("-")[0] for word in words)):
        short = len(run) < (3 if reason.startswith("secondary") else 2)  # "rb" is a rabbit there
        match = None if short or is_fluorophore(run) or ignored_reason(run) else find(run, species)
        if (
            match
            and match.marker
            and not match.marker.startswith("Ig")
            and facts_of(match.marker, species)["kind"] != "stain"
        ):
            return match.marker
    return ""


def _torn(match: Match, name: str, species: Species) -> Match:
    """A name made of another marker and a number or host behind a gap (``CS_1``, ``IL-2_Rb``) may be either."""
    gap = re.fullmatch(r"(?P<left>.*[A-Za-z0-9])(?:(?<!\d)[_ ](?:\d|[IVX]+)|[-_ ](?i:rb|ms|rt|gt))", name.strip())
    left = find(gap["left"], species) if gap and match.marker and not is_spelled_so(name) else None
    if left is None or left.marker in ("", match.marker) or facts_of(left.marker, species)["kind"] == "family":
        return match
    return Match("ambiguous", suggestions=(match.marker, left.marker), via="number at the end")


def _one_gene(gene: Match, text: str, species: Species) -> Match:
    """The gene, unless its symbol only came about by closing a gap (``C2-CD3``) or by a prefix (``mTfR1``)."""
    cuts = [cut for cut in halves(text) if not is_gene_symbol(text)]
    if re.match(r"[a-z][A-Z]", text):
        cuts.append(["", text[1:]])
    for cut in cuts:
        for part in cut:
            other = find(part, species) if len(part) > 1 else None
            if other is None or not other.marker:
                continue
            if facts_of(other.marker, species)["kind"] == "family" and not {"ms", "rb", "rt", "gt"} & {
                half.lower() for half in cut
            }:
                continue  # S100-A12 is a member of S100
            genes = facts_of(other.marker, "human")["gene"].split(";")
            if any(len(one) == len(gene.marker) and one[:-1] == gene.marker[:-1] for one in genes):
                continue  # VEGF is VEGFA, and VEGF-C another of its kind
            return Match("ambiguous", suggestions=(gene.marker, other.marker), via="several markers in the name")
    return gene


def _with(match: Match, way: NameReading) -> Match:
    return Match(match.status, match.marker, match.suggestions, match.via, way.removed)


def _read_as(way: NameReading, name: str, species: Species) -> Match | None:
    """What one reading means, unless what it leaves out contradicts it."""
    match = find(way.text, species)
    if match is None:
        return None
    match = _torn(match, way.text, species)
    if is_modification(way.remark) and not is_modified(match.marker):
        # "STAT3 (pY705)" is the phosphorylated protein where the table has it, and never the plain one
        match = find("p" + way.text, species) if is_phosphorylation(way.remark) else None
        if match is None or not is_modified(match.marker):
            return None
    if match.marker and (joined := _joined(match, way, species)):
        return Match(
            "ambiguous", suggestions=(match.marker, joined), via="number next to the name", stripped=way.removed
        )
    if way.replicate and not _may_be_repeated(match, way, name):
        together = re.sub(r"[^A-Za-z0-9]", "", way.text + way.removed[-1])
        joined = find(together, species) or find_gene(together)
        others = (joined.marker,) if joined and joined.marker else ()
        return Match("ambiguous", suggestions=(match.marker, *others), via="number at the end") if others else None
    return _contradicted(_with(match, way), way, species)


def _joined(match: Match, way: NameReading, species: Species) -> str:
    """Another marker that a number or round left out makes with what is left: ``keratin 17_1``, ``IFNG_R2``."""
    for label in way.removed:
        if re.match(r"1[:/]\d{2}", label):  # a dilution
            continue
        number = re.match(r"[-_ .:#]*((?:[rc](?=\d))?\d{1,2})(?![A-Za-z0-9])", label, re.IGNORECASE)
        if not number:
            continue
        for text in (way.text + number[1], number[1] + way.text if way.removed[0] == label else ""):
            other = (find(text, species) or find_gene(text)) if text else None
            if other and other.marker and other.marker != match.marker:
                return other.marker
    return ""


def _may_be_repeated(match: Match, way: NameReading, name: str) -> bool:
    """Whether a number at the end can be that of a repeated stain: not where it makes another name."""
    row = rows().get(match.marker)
    if row is None or row["kind"] == "family":
        return False
    key = normalize_marker_name(way.text)
    together = re.sub(r"[^A-Za-z0-9]", "", way.text + way.removed[-1])
    if find(together) or find_gene(together):
        return False
    if key[-1].isdigit():
        return not re.match(r"ck|krt|cytokeratin|keratin", key)
    # "Collagen 2", "Arginase 2", "Claudin 4" are other proteins; "Vimentin 2" is not a protein
    return row["kind"] in ("protein", "complex") and not row["gene"].split(";")[0][-1].isdigit()


def _contradicted(match: Match, way: NameReading, species: Species) -> Match:
    """The match, unless what was left out names another marker."""
    others = []
    if not match.marker:
        return match
    for remark in remarks(way):
        reason = ignored_reason(remark) if len(remark) > 2 else None
        if (
            reason
            and reason.startswith(("blank", "control", "autofluorescence", "background"))
            and "metal" not in reason
        ):
            return Match(
                "ambiguous", suggestions=(match.marker,), via=f"{reason}, or a marker", stripped=match.stripped
            )
        other = find(remark, species)
        if other and other.marker and other.marker != match.marker and not _same_protein(other.marker, match.marker):
            others.append(other.marker)
    if others:
        named = (match.marker, *sorted(set(others)))
        return Match("ambiguous", suggestions=named, via="several markers in the name", stripped=match.stripped)
    return match


def _same_protein(marker: str, other: str) -> bool:
    """Whether two markers are forms of one protein, or one is a chain of the other."""
    genes = [set(facts_of(name, "human")["gene"].split(";")) - {""} for name in (marker, other)]
    return (
        bool(genes[0] and genes[1])
        and (genes[0] <= genes[1] or genes[1] <= genes[0])
        and not (is_modified(marker) or is_modified(other))
    )


_LISTS = (
    (re.compile(r"cytokeratin|keratin|krt|ck", re.IGNORECASE), "pan-Cytokeratin"),
    (re.compile(r"cadherin|cdh", re.IGNORECASE), "pan-Cadherin"),
)


def _list_of_members(cut: list[str]) -> str:
    """``Cytokeratin 1, 5, 6A, 6B, 8``: an antibody that binds them all."""
    for family, marker in _LISTS:
        member = rf"(?:(?:anti[- ])?(?:{family.pattern})[- ]?)?\d+[a-z]?"
        if len(cut) >= 4 and family.search(cut[0]) and all(re.fullmatch(member, part, re.IGNORECASE) for part in cut):
            return marker
    return ""


def _other_remark(text: str, markers: list[str], species: Species) -> bool:
    """Whether parentheses in a name refer to a modification or to another marker."""
    for remark in re.findall(r"[(\[]([^)\]]*)", text):
        other = find(remark, species)
        if is_modification(remark) and not any(map(is_modified, markers)):
            return True
        if other and other.marker and not any(_same_protein(other.marker, marker) for marker in markers):
            return True
    return False


def _several(way: NameReading, species: Species) -> Match | None:
    """A name that lists names: synonyms of one marker, its chains, members of a family, or several markers."""
    for cut in parts(way.text):
        if family := _list_of_members(cut):
            return Match("alias", family, via="list of its members", stripped=way.removed)
        matches = []
        for part in cut:
            match = find(part, species)
            if match is None or not match.marker:
                break  # most names end here
            matches.append(match.marker)
        if len(matches) < len(cut):
            continue
        markers = list(dict.fromkeys(matches))
        if len({is_modified(marker) for marker in markers}) > 1 or _other_remark(way.text, markers, species):
            return Match("ambiguous", suggestions=tuple(markers), via="several markers in the name")
        if len(markers) > 1 and all(map(is_modified, markers)):
            return Match("ambiguous", suggestions=tuple(markers), via="several markers in the name")
        genes = {gene for marker in markers for gene in facts_of(marker, "human")["gene"].split(";")}
        if whole := [name for name in markers if genes == set(facts_of(name, "human")["gene"].split(";")) != {""}]:
            return Match("alias", whole[0], via="synonyms", stripped=way.removed)
        if len(markers) == 1:
            return Match("alias", markers[0], via="synonyms", stripped=way.removed)
        return Match("ambiguous", suggestions=tuple(markers), via="several markers in the name", stripped=way.removed)
    return None
