"""From channel names to markers, ids and statistics."""

from __future__ import annotations

import pytest

from spatialfm._errors import PanelError, SpatialfmWarning
from spatialfm.embed.markers.panel import assign_ids, marker_ids, resolve_panel, vocabulary_of
from spatialfm.models.encoder import MarkerEntry


class Vocabulary:
    """What `vocabulary_of` and `marker_ids` need of an encoder."""

    n_marker_ids = 512

    def __init__(self, *entries):
        self.vocabulary = tuple(MarkerEntry(*entry) for entry in entries)
        self.card = type("Card", (), {"name": "kronos"})


def test_the_same_marker_under_two_names_is_one_marker():
    panel = resolve_panel([["DAPI", "CD3e", "anti-CD8"], ["CD8a", "DAPI", "CD3"]])
    assert panel.markers == ("DAPI", "CD3", "CD8")
    assert panel.channels == ((0, 1, 2), (1, 2, 0))
    assert panel.names[1] == ("DAPI", "CD3", "CD8a")
    assert panel.dropped == {}


def test_markers_that_not_every_sample_has_are_named():
    panel = resolve_panel([["DAPI", "CD3", "CD20"], ["DAPI", "CD3", "CD68"]])
    assert panel.markers == ("DAPI", "CD3")
    assert panel.dropped == dict.fromkeys(["CD20", "CD68"], "not measured in every sample")


def test_unknown_channels_are_never_guessed():
    with pytest.raises(PanelError, match=r"1 channel is not resolved.*'CD4444'.*mapping=.*on_unknown"):
        resolve_panel([["DAPI", "CD4444"]])
    assert resolve_panel([["DAPI", "CD4444"]], on_unknown="keep").markers == ("DAPI", "CD4444")
    dropped = resolve_panel([["DAPI", "CD4444"]], on_unknown="drop")
    assert (dropped.markers, dropped.dropped) == (("DAPI",), {"CD4444": "unknown"})
    assert resolve_panel([["DAPI", "CD4444"]], mapping={"CD4444": "CD4"}).markers == ("DAPI", "CD4")
    assert resolve_panel([["DAPI", "CD4444"]], mapping={"CD4444": None}).markers == ("DAPI",)
    assert resolve_panel([["DAPI", "CD4444"]], markers=["DAPI"]).markers == ("DAPI",)  # not asked for: no matter
    with pytest.raises(PanelError, match="not resolved"):
        resolve_panel([["DAPI", "CD4444"]], markers=["CD4444"])


def test_two_channels_of_one_marker_keep_the_first():
    panel = resolve_panel([["DAPI-01", "CD3", "DAPI-02"]])
    assert panel.markers == ("DAPI", "CD3")
    assert panel.dropped == {"DAPI-02": "same marker as channel DAPI-01"}


def test_a_choice_of_markers_sets_their_order():
    panel = resolve_panel([["DAPI", "CD3e", "CD20"]], markers=["CD20", "CD3"])
    assert panel.markers == ("CD20", "CD3")
    assert panel.channels == ((2, 1),)
    assert resolve_panel([["DAPI", "CD3e", "CD20"]], markers=["CD3e"]).markers == ("CD3",)  # a channel's own name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"markers": ["CD68"]}, r"No marker 'CD68' in the images.*Mend markers="),
        ({"markers": "CD3"}, r"takes a list of markers, not the string 'CD3'"),
        ({"markers": ["CD3", "CD3e"]}, r"'CD3' is asked for twice"),
        ({"mapping": {"CD99x": "CD3"}}, r"channel 'CD99x', which no image has"),
        ({"mapping": {"DAPI": None, "CD3e": None}}, r"No marker is left"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    with pytest.raises(PanelError, match=message):
        resolve_panel([["DAPI", "CD3e"]], **arguments)


def test_vocabulary_is_joined_by_marker_and_not_by_spelling():
    encoder = Vocabulary(("a-SMA", 3, 0.1, 0.2), ("CD8A", 9, 0.3, 0.4), ("HLA-DR", 11, 0.5, 0.6))
    markers = resolve_panel([["aSMA", "CD8", "HLADR", "CD3"]]).markers
    found = vocabulary_of(encoder, markers)
    assert [found[marker].id for marker in markers[:3]] == [3, 9, 11]
    assert set(found) == set(markers[:3])


def test_free_ids_are_the_same_in_every_panel_and_never_taken():
    known, taken = {"CD3": 7}, [0, 1, 7]
    ids = assign_ids(["CD3", "new1", "new2"], known, taken, 512)
    assert ids["CD3"] == 7
    assert len(set(ids.values())) == 3
    assert not {ids["new1"], ids["new2"]} & set(taken)
    assert assign_ids(["new2", "other", "CD3"], known, taken, 512)["new2"] == ids["new2"]
    crowded = assign_ids([f"m{i}" for i in range(60)], {}, range(4), 64)  # nearly all ids meet; still one each
    assert sorted(crowded.values()) == list(range(4, 64))
    with pytest.raises(PanelError, match=r"61 markers without id, and 60 ids are free"):
        assign_ids([f"m{i}" for i in range(61)], {}, range(4), 64)


def test_markers_without_id_are_named_in_a_warning():
    encoder = Vocabulary(("CD3", 3, 0.1, 0.2))
    with pytest.warns(SpatialfmWarning, match=r"no id for 1 of 2 markers \(not in its list\): CD8"):
        ids = marker_ids(encoder, ["CD3", "CD8"], vocabulary_of(encoder, ["CD3", "CD8"]))
    assert ids["CD3"] == 3
    with pytest.warns(SpatialfmWarning, match=r"no marker_metadata.csv"):
        marker_ids(Vocabulary(), ["CD3"], {})
