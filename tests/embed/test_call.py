"""The records that a call takes, in a dict or as they are, and what a keyword that there is not must have meant."""

from __future__ import annotations

import dataclasses
import inspect

import numpy as np
import pytest
from stand_in import Sums

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ElementError, ModelError, PanelError, TableError
from spatialfm.embed.call import OLD, RECORDS, request_of

CHANNELS = ["DAPI", "CD3", "CD20"]


@pytest.fixture
def sdata(make_sdata, blobs):
    return make_sdata({"a": blobs(0)}, CHANNELS)


@pytest.mark.parametrize("kind", RECORDS.values())
def test_records_print_themselves_and_document_each_field_once(kind):
    record = kind()
    assert dataclasses.is_dataclass(kind)
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.anything = 1
    assert repr(record) == f"{kind.__name__}()"
    html, lines = record._repr_html_(), str(record).splitlines()
    # Python 3.13 takes the indentation of docstrings away, earlier versions leave it
    attributes = inspect.getdoc(kind).split("Attributes")[1].splitlines()
    headings = [line for line in attributes if line and not line.startswith(" ")]
    headings = [name.strip() for line in headings for name in line.split(",")]
    for name in kind.names():
        assert f">{name}<" in html
        assert sum(line.split()[0] == name for line in lines) == 1
        assert headings.count(name) == 1, name


def test_a_wrong_key_answers_with_what_there_is(sdata):
    with pytest.raises(ArgumentError, match=r"Recipe has no field 'backgroud'. Did you mean 'background'\?"):
        sfm.tl.embed_cells(sdata, Sums(), recipe={"backgroud": "keep"})
    with pytest.raises(ArgumentError, match="Run has no field 'zoom'. There are: devices, client, batch_size"):
        sfm.tl.embed_cells(sdata, Sums(), run={"zoom": 2})
    with pytest.raises(ArgumentError, match=r"Reduce\(n_components=0\): n_components must be a whole number"):
        sfm.tl.embed_cells(sdata, Sums(), reduce={"n_components": 0})
    with pytest.raises(ArgumentError, match=r"Panel\(on_unknown='ask'\): on_unknown must be 'raise', 'keep'"):
        sfm.tl.embed_cells(sdata, Sums(), panel={"on_unknown": "ask"})
    assert not sdata.tables


def test_a_record_is_taken_as_a_dict_of_its_fields_is(sdata):
    given = sfm.Recipe(window=32, background="keep"), sfm.Panel(markers=["CD3"]), sfm.Run(batch_size=2)
    one = sfm.tl.embed_cells(sdata, Sums(), recipe=given[0], panel=given[1], run=given[2], copy=True)
    two = sfm.tl.embed_cells(
        sdata, Sums(), recipe={"window": 32, "background": "keep"}, markers=["CD3"], run={"batch_size": 3}, copy=True
    )
    np.testing.assert_allclose(one.obsm["X_sums"], two.obsm["X_sums"], rtol=1e-6)
    assert sfm.get.record(one, "X_sums")["markers"] == ["CD3"]


def test_markers_that_are_named_twice_must_be_the_same():
    assert request_of(Sums(), markers=["CD3"], panel={"markers": ["CD3"]}).panel.markers == ["CD3"]
    with pytest.raises(PanelError, match="name different markers"):
        request_of(Sums(), markers=["CD3"], panel={"markers": ["CD20"]})


@pytest.mark.parametrize(
    "call", ["embed_cells", "embed_tiles", "segment_regions", "detect_artifacts", "plan_embedding"]
)
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("mpp", 0.5, r"It is a field of elements=: elements=\{'mpp': 0.5\}\."),
        ("batch_size", 8, r"It is a field of run=: run=\{'batch_size': 8\}\."),
        ("stats", {"CD3": (0, 1)}, r"It is 'statistics' now, a field of recipe=: recipe=\{'statistics': \{'CD3'"),
        ("device", "cpu", r"It is 'devices' now, a field of run=: run=\{'devices': 'cpu'\}\."),
        ("marker_embeddings", "x", r"It is 'embeddings' now, a field of panel="),
        ("intensty_max", 255, r"Did you mean 'intensity_max', a field of recipe=: recipe=\{'intensity_max': 255\}\?"),
        (
            "token_overlap",
            True,
            r"It is an option of the model: encoder = sfm.models.load\('kronos', token_overlap=True\)",
        ),
        ("token_overlp", True, r"Did you mean 'token_overlap'\? It is an option of the model"),
        ("smaples", ["a"], r"Did you mean 'samples'\?"),
    ],
)
def test_a_keyword_that_there_is_not_says_which_was_meant(call, name, value, said):
    with pytest.raises(TypeError, match=rf"^{call}\(\) has no argument '{name}'. {said}"):
        getattr(sfm.tl, call)(None, "kronos", **{name: value})


def test_every_field_that_was_an_argument_is_answered():
    fields = [name for kind in RECORDS.values() for name in kind.names()]
    assert set(OLD) & set(fields) == {"normalization"}  # which is a field too: where it comes from is the other one
    for argument, field in OLD.values():
        assert field in RECORDS[argument].names()


def test_messages_name_fields_as_the_function_takes_them(sdata):
    with pytest.raises(ElementError, match=r'Pass elements=\{"image": <name>\}'):
        sfm.tl.embed_cells(sdata, Sums(), elements={"image": "nothing"})
    with pytest.raises(ElementError, match="Pass image=<name>"):
        sfm.pp.cell_table(sdata, image="nothing")


def test_every_function_that_takes_a_record_knows_its_fields():
    takes_records = 0
    for room in ("tl", "train"):  # a panel of io is a file
        for name in dir(getattr(sfm, room)):
            function = getattr(getattr(sfm, room), name)
            function = vars(function).get("__init__", function) if inspect.isclass(function) else function
            taken = [one for one in RECORDS if one in getattr(function, "arguments", ())]
            fields = {field for one in taken for field in RECORDS[one].names()}
            known = function.fields.of(function.arguments) if taken and function.fields else {}
            assert not fields - set(known) - set(taken), f"{name}: @public(fields=CALL_FIELDS) is missing"
            takes_records += bool(taken)
    assert takes_records > 10


def test_tiles_refuse_what_they_could_only_ignore(sdata):
    with pytest.raises(ModelError, match="'stride': ...}} is about cells".replace("}}", "}")):
        sfm.tl.embed_tiles(sdata, Sums(), recipe={"stride": 8})
    with pytest.raises(ElementError, match="no labels are used here"):
        sfm.tl.embed_tiles(sdata, Sums(), elements={"labels": "cells_a"})


# ---- the recipe


def test_a_card_departs_in_what_is_said_alone():
    card = sfm.models.card("kronos")
    other = card.recipe.replace(background="keep")
    assert other.changed() == card.recipe.changed() | {"background": "keep"}
    assert other != card.recipe
    assert card.recipe == sfm.models.card("kronos").recipe


def test_fields_that_contradict_each_other_are_refused():
    for wrong, said in [
        ({"stride": 8}, "'stride' belongs to mode 'tile'"),
        ({"mode": "tile", "background": "zero"}, "masks one cell's window"),
        ({"mode": "tile", "background": "keep", "centers": ("x", "y")}, "'centers' belongs to mode 'crop'"),
        ({"normalization": "none", "statistics": "published"}, "without statistics of markers"),
    ]:
        with pytest.raises((ModelError, PanelError), match=said):
            sfm.Recipe(**wrong)


def test_the_record_holds_the_whole_recipe(sdata):
    table = sfm.tl.embed_cells(sdata, Sums(), recipe={"background": "keep", "window": 32}, copy=True)
    stored = sfm.get.record(table, "X_sums")["recipe"]
    assert set(stored) == set(sfm.Recipe.names())
    recipe = sfm.get.recipe(table, "X_sums")
    assert (recipe.background, recipe.window, recipe.resampling) == ("keep", 32, "triangle")


class Scaled(Sums):
    card = dataclasses.replace(
        Sums.card, name="scaled", recipe=Sums.card.recipe.replace(normalization="marker statistics")
    )


def test_a_second_cohort_is_embedded_with_the_statistics_of_the_first(make_sdata, blobs):
    """Sums over windows of (pixel / 255 - mean) / std of the first cohort, in numpy."""
    first, (image, labels) = make_sdata({"a": blobs(0)}, CHANNELS), blobs(5, n_cells=1, radius=4)
    labels[:] = 0
    labels[60:64, 80:84] = 1
    second = make_sdata({"other": (image, labels)}, CHANNELS)
    table = sfm.tl.embed_cells(first, Scaled(), copy=True)
    before = sfm.get.record(table, "X_scaled")
    found = sfm.tl.embed_cells(second, Scaled(), recipe=sfm.get.recipe(table, "X_scaled"), copy=True)
    mean, std = (np.array(before[f"normalization_{name}"])[:, None, None] for name in ("mean", "std"))
    expected = ((image[:, 60:64, 80:84] / 255 - mean) / std).sum((1, 2))
    np.testing.assert_allclose(found.obsm["X_scaled"][0], expected, rtol=1e-4)
    assert sfm.get.record(found, "X_scaled")["normalization_source"] == ["given"] * 3


def test_what_was_said_for_each_sample_is_not_carried_over_in_silence(make_sdata, blobs):
    image, labels = blobs(0)
    first, second = (make_sdata({name: (image, labels)}, CHANNELS) for name in ("a", "b"))
    of_sample = sfm.tl.embed_cells(first, Scaled(), recipe={"intensity_max": {"a": 100.0}}, copy=True)
    recipe = sfm.get.recipe(of_sample, "X_scaled")
    assert recipe.intensity_max == 100.0  # the same for all samples
    masked = sfm.tl.embed_cells(first, Scaled(), recipe={"tissue": np.ones((150, 150), bool)}, copy=True)
    with pytest.raises(ElementError, match="'tissue' of 'X_scaled' was given as ndarray, which a record does not keep"):
        sfm.get.recipe(masked, "X_scaled")
    assert sfm.get.recipe(masked, "X_scaled", changes={"tissue": "all"}).tissue == "all"
    two = make_sdata({"a": (image, labels), "c": (image, labels)}, CHANNELS)
    table = sfm.tl.embed_cells(two, Scaled(), recipe={"intensity_max": {"a": 100.0, "c": 200.0}}, copy=True)
    with pytest.raises(PanelError, match="names sample 'a'; the samples are 'b'"):
        sfm.tl.embed_cells(second, Scaled(), recipe=sfm.get.recipe(table, "X_scaled"), copy=True)


def test_a_model_that_normalises_by_itself_refuses_another_way():
    encoder = sfm.models.load("openphenom", weights="random")
    with pytest.raises(ModelError, match="normalises pixels in its own way"):
        request_of(encoder, recipe={"normalization": "marker statistics"})


# ---- plans


def test_a_plan_says_what_would_be_done_and_is_run(sdata):
    encoder = Sums()
    sfm.pp.cell_table(sdata)
    direct = sfm.tl.embed_cells(sdata, Sums(), markers=["CD3", "DAPI"], outputs=["patch", "marker"], copy=True)
    plan = sfm.tl.plan_embedding(sdata, encoder, markers=["CD3", "DAPI"], outputs=["patch", "marker"])
    assert plan.columns == {"X_sums_patch": 1, "X_sums_marker": 2}
    assert set(sdata["table"].obsm) == {"spatial"}
    text, html = repr(plan), plan._repr_html_()
    for said in (
        "image_a",
        "CD20",
        "not among markers=",
        "batch",
        "memory",
        "disk",
        "time",
        f"{len(plan.cells.rows):,}",
    ):
        assert said in text
        assert said in html
    assert plan.cost.memory > 0
    assert plan.cost.seconds > 0
    assert plan.cost.disk == 4 * 3 * sdata["table"].n_obs  # three columns of float32
    sfm.tl.embed_cells(sdata, plan=plan)
    for key in plan.columns:
        np.testing.assert_array_equal(sdata["table"].obsm[key], direct.obsm[key])


def test_a_plan_of_other_data_is_refused(make_sdata, blobs, sdata):
    plan = sfm.tl.plan_embedding(sdata, Sums())
    with pytest.raises(ElementError, match="plan= was made of other data: image 'image_a' is another one here"):
        sfm.tl.embed_cells(make_sdata({"a": blobs(1)}, CHANNELS), plan=plan)
    with pytest.raises(ElementError, match="image 'image_a' is not in sdata"):
        sfm.tl.embed_cells(make_sdata({"b": blobs(0)}, CHANNELS), plan=plan)
    with pytest.raises(TableError, match="plan= holds all that was asked for, and markers= repeats it"):
        sfm.tl.embed_cells(sdata, plan=plan, markers=["CD3"])
    sfm.pp.cell_table(sdata)
    with pytest.raises(ElementError, match="made before there was table 'table'"):
        sfm.tl.embed_cells(sdata, plan=plan)


def test_images_are_brought_to_the_pixel_size_of_the_recipe(sdata):
    """As the encoder that was loaded for that size sees them."""
    given = sfm.tl.embed_cells(sdata, "classical", recipe={"pixel_size": 1.0}, copy=True)
    loaded = sfm.tl.embed_cells(sdata, sfm.models.load("classical", mpp=1.0), copy=True)
    np.testing.assert_array_equal(given.obsm["X_classical"], loaded.obsm["X_classical"])
    assert sfm.get.record(given, "X_classical")["mpp_used"] == {"a": 1.0}
    assert sfm.get.recipe(given, "X_classical").pixel_size == 1.0


def test_a_table_with_cells_of_others_is_refused_before_an_image_is_read(make_sdata, blobs, monkeypatch):
    sdata = make_sdata({"a": blobs(0), "b": blobs(1)}, CHANNELS)
    sfm.pp.cell_table(sdata)
    plan = sfm.tl.plan_embedding(sdata, Sums(), samples=["a"])

    def no(*args, **kwargs):
        pytest.fail("inputs were prepared")

    monkeypatch.setattr("spatialfm.embed.inputs.prepare_inputs", no)
    for arguments in ({"model": Sums(), "samples": ["a"]}, {"plan": plan}):
        with pytest.raises(TableError, match=r"also holds cells of cells_b.*copy=True"):
            sfm.tl.embed_cells(sdata, **arguments)


def test_channels_without_a_marker_are_measured_and_not_embedded(make_sdata, blobs):
    sdata = make_sdata({"a": blobs(0)}, ["DAPI", "CD3", "Opal 690"])
    with pytest.warns(sfm._errors.SpatialfmWarning, match=r"'Opal 690' \(a dye\).*panel=\{\"nuisance\": \"keep\"\}"):
        sfm.tl.embed_cells(sdata, "classical")
    sfm.tl.embed_cells(sdata, "classical", panel={"nuisance": "keep"}, key_added="X_all")
    assert list(sdata["table"].var_names) == ["DAPI", "CD3", "Opal 690"]
    assert sfm.get.record(sdata["table"], "X_classical")["markers"] == ["DAPI", "CD3"]
    assert sfm.get.record(sdata["table"], "X_all")["markers"] == ["DAPI", "CD3", "Opal 690"]
    assert sfm.get.record(sdata["table"], "X_classical")["markers_dropped"] == {"Opal 690": "ignored: a dye"}
