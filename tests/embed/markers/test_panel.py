"""From channel names to markers, ids and statistics."""

from __future__ import annotations

import pandas as pd
import pytest

from spatialfm._errors import PanelError, SpatialfmWarning
from spatialfm.embed.markers.panel import assign_ids, marker_ids, resolve_panel, vocabulary_of
from spatialfm.models.encoder import MarkerEntry
from spatialfm.pp.panel import marker_table, match_markers, nuisance_channels


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
        ({"markers": ["CD68"]}, r"No marker 'CD68' in the images.*Correct markers="),
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


# ---- one test for each way


def test_each_reason_to_leave_a_channel_out():
    panel = resolve_panel(
        [["DAPI", "CD3", "CD3e", "Blank", "CD4444", "CD8"], ["CD3", "DAPI", "CD20"]],
        markers=["DAPI"],
        on_unknown="drop",
    )
    assert panel.markers == ("DAPI",)
    assert panel.channels == ((0,), (1,))
    assert panel.dropped["CD3e"] == "same marker as channel CD3"
    assert panel.dropped["Blank"].startswith("ignored: ")
    assert panel.dropped["CD4444"] == "unknown"
    assert panel.dropped["CD3"] == "not among markers="
    assert panel.dropped["CD8"] == panel.dropped["CD20"] == "not measured in every sample"


def test_markers_that_two_of_three_samples_have_are_said_with_how_many():
    with pytest.warns(SpatialfmWarning, match=r"1 of 2 markers is not measured in every sample.*CD3 \(in 2 of 3\)"):
        panel = resolve_panel([["DAPI", "CD3"], ["CD3", "DAPI"], ["DAPI"]])
    assert panel.markers == ("DAPI",)


def test_a_marker_that_one_sample_lacks_cannot_be_asked_for():
    with pytest.raises(PanelError, match="Marker 'CD3' is not measured in every sample"):
        resolve_panel([["DAPI", "CD3"], ["DAPI"]], markers=["DAPI", "CD3"])


def test_two_panels_without_a_marker_in_common():
    with pytest.raises(PanelError, match="No marker is left of channels CD20, CD3"):
        resolve_panel([["CD3"], ["CD20"]])


def test_an_order_of_several_samples_is_that_asked_for():
    panel = resolve_panel(
        [["DAPI", "CD3", "CD20", "CD8"], ["CD8", "CD20", "DAPI", "CD3"]], markers=["CD8", "DAPI", "CD3"]
    )
    assert panel.markers == ("CD8", "DAPI", "CD3")
    assert panel.channels == ((3, 0, 1), (0, 2, 3))


def test_a_panel_without_some_markers():
    panel = resolve_panel([["DAPI", "CD3e", "CD20"], ["CD20", "DAPI", "CD3"]])
    less = panel.without({"CD3": "no protein"})
    assert less.markers == ("DAPI", "CD20")
    assert less.channels == ((0, 2), (1, 0))
    assert less.names == (("DAPI", "CD20"), ("DAPI", "CD20"))
    assert less.dropped == {"CD3e": "no protein", "CD3": "no protein"}
    with pytest.raises(PanelError, match=r"No marker is left: DAPI \(a\); CD3 \(b\); CD20 \(c\)"):
        panel.without({"DAPI": "a", "CD3": "b", "CD20": "c"})


def test_an_entry_of_the_markers_own_name_goes_before_its_aliases():
    for order in (1, -1):
        encoder = Vocabulary(*[("CD8A", 9, 0.3, 0.4), ("CD8", 4, 0.5, 0.6)][::order])
        assert vocabulary_of(encoder, ["CD8"])["CD8"].id == 4


def test_a_name_that_the_table_does_not_know_is_found_as_it_stands():
    found = vocabulary_of(Vocabulary(("Odd-Name", 2, 0.1, 0.2)), ["odd name", "CD3"])
    assert {name: entry.id for name, entry in found.items()} == {"odd name": 2}
    assert vocabulary_of(Vocabulary(), ["CD3"]) == {}


def test_ids_come_in_the_order_of_the_markers_and_known_ones_stay():
    ids = assign_ids(["b", "CD3", "a"], {"CD3": 1}, [1], 3)
    assert list(ids) == ["b", "CD3", "a"]
    assert sorted(ids.values()) == [0, 1, 2]
    assert ids["CD3"] == 1


# ---- channels without a marker

NUISANCE = {
    "AF": "autofluorescence", "sample AF": "autofluorescence", "AF-DAPI": "autofluorescence",
    "Autofluorescence_Cy3": "autofluorescence", "Blank": "blank channel", "EMPTY-2": "blank channel",
    "unknown": "blank channel", "background": "background", "BCKG": "background", "TRITC": "a dye", "Cy5": "a dye",
    "Opal 690": "a dye", "AF647": "a dye", "Channel 0": "the number of a channel",
    "Ch1": "the number of a channel", "goat_anti_rabbit": "secondary antibody", "80ArAr": "background metal",
}  # fmt: skip


def test_channels_without_a_marker_are_left_out_and_named_in_one_warning():
    with pytest.warns(SpatialfmWarning) as said:
        panel = resolve_panel([["DAPI", *NUISANCE, "CD3"], ["CD3", "Cy5", "DAPI", "AF"]])
    assert panel.markers == ("DAPI", "CD3")
    assert panel.channels == ((0, len(NUISANCE) + 1), (2, 0))
    assert panel.dropped == {name: f"ignored: {why}" for name, why in NUISANCE.items()}
    (message,) = [str(one.message) for one in said]
    assert message.startswith(f"{len(NUISANCE)} channels hold no marker by their names and are left out")
    assert all(repr(name) in message for name in NUISANCE)
    assert "'TRITC', 'Cy5', 'Opal 690', 'AF647' (a dye)" in message


def test_channels_without_a_marker_are_kept_where_they_are_named_or_asked_for(recwarn):
    names = ["DAPI", "Cy5", "AF", "CD8"]
    assert resolve_panel([names], nuisance="keep").markers == ("DAPI", "Cy5", "AF", "CD8")
    assert resolve_panel([names], markers=["Cy5", "DAPI", "AF"]).channels == ((1, 0, 2),)
    assert resolve_panel([names], mapping={"Cy5": "CD3", "AF": None}).markers == ("DAPI", "CD3", "CD8")
    assert not recwarn.list


def test_panels_without_any_name_are_what_they_were(recwarn):
    names = ["Channel 0", "Channel 1", "Cy5"]
    assert resolve_panel([names], on_unknown="keep").markers == tuple(names)
    with pytest.raises(PanelError, match="3 channels are not resolved to a marker: 'Channel 0'"):
        resolve_panel([names])
    assert not recwarn.list


def test_dyes_beside_a_stain_of_nuclei_are_the_markers(recwarn):
    """Left out, they would leave the nuclei alone, and an embedding that has seen no marker."""
    names = ["DAPI", "FITC", "Cy3", "Cy5", "Alexa 594"]
    assert resolve_panel([names], on_unknown="keep").markers == tuple(names)
    with pytest.raises(PanelError, match="4 channels are not resolved to a marker: 'FITC'"):
        resolve_panel([names])
    assert not recwarn.list


@pytest.mark.real_data
def test_no_marker_of_real_panels_is_taken_for_nuisance(real_data):
    """Truth: the names of all panels, read one by one."""
    names = pd.read_csv(real_data / "panels" / "channel_names.csv", keep_default_na=False)
    found = {}
    for _, panel in names.groupby("panel"):
        found |= nuisance_channels(match_markers(list(dict.fromkeys(panel["channel"]))))
    assert set(found) == {
        "127I", "131Xe", "134Xe", "138Ba", "208Pb", "80ArAr", "A488", "A488 d_a_rat", "A555", "A555 d_a_rabbit", "A647",
        "A647 d_a_mouse", "AF488", "AF555", "AF647", "Au", "BCKG", "Background", "C", "Ca", "Fe", "Membrane", "Na", "P",
        "R1.0.1_CY3", "S", "Si", "Ta", "White190BCKG", "anti_Goat", "anti_Mouse", "anti_Rabbit", "donkey_anti_mouse",
        "goat_anti_rabbit",
    }  # fmt: skip


def test_no_marker_of_the_table_is_taken_for_nuisance():
    table = marker_table()
    assert nuisance_channels(match_markers(table["marker"].tolist())) == {}
