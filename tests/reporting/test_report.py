"""The report as a whole: its numbers are those of the object, its text is escaped, its HTML is sound."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import PIL.Image
import pytest
import spatialdata as sd
from spatialdata.models import Image2DModel

import spatialfm as sfm
from spatialfm._errors import ElementError, InputFileError, TableError
from spatialfm._keys import UNTRAINED
from spatialfm.reporting._report import SECTIONS

EVIL = "<script>alert(1)</script>"  # a phenotype, a group of patients, and part of the title of the shared cohort
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
NO_END = {"img", "meta", "link", "br"}


class Strict(HTMLParser):
    """Reads a page and notes what an HTML5 validator would refuse in one that is made of our elements."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.ids: Counter[str] = Counter()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, name, attrs):
        given = dict(attrs)
        if len(given) < len(attrs):
            self.wrong.append(f"<{name}> has an attribute twice")
        if any(value is None for value in given.values()):
            self.wrong.append(f"<{name}> has an attribute without value")
        if not self.get_starttag_text().endswith(">") or "<" in self.get_starttag_text()[1:]:
            self.wrong.append(self.get_starttag_text())
        if name in ("p", "h1", "h2", "h3") and {"p", "h1", "h2", "h3"} & set(self.open):
            self.wrong.append(f"<{name}> in {self.open[-3:]}")
        if name in ("div", "table", "ul", "ol", "dl", "figure", "section") and "p" in self.open:
            self.wrong.append(f"<{name}> in a paragraph")
        if "id" in given:
            self.ids[given["id"]] += 1
        self.tags.append((name, given))
        if name not in NO_END:
            self.open.append(name)

    def handle_endtag(self, name):
        if not self.open or self.open.pop() != name:
            self.wrong.append(f"</{name}> closes nothing")

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    def handle_comment(self, data):
        self.wrong.append(f"comment {data!r}")


@pytest.fixture(scope="module")
def page(written):
    return Strict(written.read_text(encoding="utf-8"))


def attributes(page: Strict, name: str, attribute: str) -> list[str | None]:
    return [given.get(attribute) for tag, given in page.tags if tag == name]


def table(text: str, caption: str) -> pd.DataFrame:
    """The table whose caption begins so, as numbers with all of their digits."""
    (found,) = [
        one for one in re.findall(r"<table>.*?</table>", text, re.S) if f"<caption>{html.escape(caption)}" in one
    ]
    rows = re.findall(r"<tr>(.*?)</tr>", found, re.S)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in rows]

    def read(cell: str) -> object:
        number = re.fullmatch(r'<data value="([^"]+)">.*</data>', cell)
        return float(number[1]) if number else html.unescape(re.sub("<[^>]+>", "", cell))

    values = [[read(cell) for cell in row] for row in cells]
    return pd.DataFrame([row[1:] for row in values[1:]], index=[row[0] for row in values[1:]], columns=values[0][1:])


# ------------------------------------------------------------------------------------------------------------ the page


def test_the_page_is_sound_html(written, page):
    assert not page.wrong
    assert not page.open
    assert written.read_text(encoding="utf-8").startswith(
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    )
    assert {name for name, n in page.ids.items() if n > 1} == set()
    links = [href for href in attributes(page, "a", "href")]
    assert links
    assert all(href.startswith("#") and href[1:] in page.ids for href in links)


def test_a_real_parser_finds_nothing_wrong(written):
    html5lib = pytest.importorskip("html5lib")
    html5lib.HTMLParser(strict=True).parse(written.read_text(encoding="utf-8"))


def test_the_strict_reader_finds_planted_errors():
    for text in (
        "<p><p></p></p>",
        "<b></i>",
        "<p><div></div></p>",
        "<a id='x' id='y'></a>",
        "<!-- x -->",
        "<p hidden></p>",
    ):
        assert Strict(text).wrong, text


def test_nothing_is_fetched_and_nothing_runs(written, page):
    text = written.read_text(encoding="utf-8")
    assert not {"script", "iframe", "object", "embed", "form"} & {name for name, _ in page.tags}
    assert all(source.startswith("data:image/") for source in attributes(page, "img", "src"))
    assert not re.search(r"url\(|@import|https?://", re.search(r"<style>(.*?)</style>", text, re.S)[1])
    assert not [
        name for name, given in page.tags for key in given if key.startswith("on") or key in ("srcset", "action")
    ]
    assert attributes(page, "link", "href") == ["data:,"]
    assert "default-src 'none'" in next(given["content"] for name, given in page.tags if given.get("http-equiv"))
    assert len(text) < 3_000_000


def test_headings_are_in_order_and_figures_and_tables_are_described(page):
    levels = [int(name[1]) for name, _ in page.tags if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))
    assert all(attributes(page, "img", "alt"))
    assert all(attributes(page, "img", "width"))
    assert all(scope in ("row", "col") for scope in attributes(page, "th", "scope"))
    tables = [name for name, _ in page.tags].count("table")
    assert tables > 12
    assert [name for name, _ in page.tags].count("caption") == tables
    assert all(key in page.ids for key, _, _ in SECTIONS)


def test_text_of_a_user_is_escaped(written, page):
    text = written.read_text(encoding="utf-8")
    assert EVIL not in text
    assert "<script" not in text.lower()
    assert text.count(html.escape(EVIL)) > 10  # phenotypes, arms, the title
    assert f"A & B {EVIL}" in "".join(page.text)


def test_it_is_styled_for_paper_and_for_the_dark(written):
    text = written.read_text(encoding="utf-8")
    assert "@media (prefers-color-scheme: dark)" in text
    assert "@media print" in text
    assert "@page" in text


def test_no_part_failed(written):
    assert "not drawn" not in written.read_text(encoding="utf-8")
    assert "could not be made" not in written.read_text(encoding="utf-8")


# --------------------------------------------------------------------------------------------------------- its numbers


def test_numbers_of_the_cohort(written, cohort):
    text = written.read_text(encoding="utf-8")
    samples = table(text, "Samples.")
    assert samples.index.tolist() == cohort["samples"].obs_names.tolist()
    assert samples["cells"].tolist() == cohort["table"].obs["sample"].value_counts()[samples.index].tolist()
    assert samples["µm per pixel"].tolist() == [0.5] * 6
    assert samples["patient"].tolist() == cohort["samples"].obs["patient"].tolist()
    assert samples["time"].tolist() == cohort["samples"].obs["time"].tolist()
    assert f'<dd><data value="{cohort["table"].n_obs}">' in text


def test_channels_and_the_proteins_that_they_were_read_as(written):
    found = table(written.read_text(encoding="utf-8"), "Channels, and the protein that each one was read as.")
    assert found.loc["Cytokeratin", "marker"] == "pan-Cytokeratin"
    assert found.loc["CD8", "uniprot"] == "P01732"
    assert (found["status"] == "exact").all()


def test_quality_is_that_of_the_functions(written, cohort):
    found = table(written.read_text(encoding="utf-8"), "Median of each channel over the images, on tissue")
    expected = sfm.pp.channel_quality(cohort).groupby(level="channel", sort=False).median(numeric_only=True)
    for name in ("mean", "snr", "sharpness"):
        np.testing.assert_array_equal(found[name], expected.loc[found.index, name])
    checked = sfm.pp.check_labels(cohort)
    n = int(checked.drop_duplicates("labels")["n_cells"].sum())
    assert f"{n:,} cells in 6 masks" in written.read_text(encoding="utf-8")


def test_phenotypes_are_counted_and_their_markers_are_means(written, cohort):
    text, cells = written.read_text(encoding="utf-8"), cohort["table"]
    sizes = table(text, "Cells of each phenotype.")
    assert sizes["cells"].to_dict() == cells.obs["phenotype"].value_counts().to_dict()
    assert sizes["share"].sum() == pytest.approx(1)
    assert sizes["patients"].to_dict() == cells.obs.groupby("phenotype", observed=True)["patient"].nunique().to_dict()
    means = table(text, "Mean of each marker (X) in each phenotype, in its units.")
    for name in means.index:
        values = np.asarray(cells[(cells.obs["phenotype"] == name).to_numpy()].X, float)
        np.testing.assert_allclose(means.loc[name].astype(float), values.mean(axis=0), rtol=1e-12)


def test_niches_and_compositions(written, cohort):
    text, cells = written.read_text(encoding="utf-8"), cohort["table"]
    assert table(text, "Cells of each niche.")["cells"].tolist() == cells.uns["niche"]["sizes"]["n"].tolist()
    shares = table(text, "Shares of niche among the cells of each patient.")
    np.testing.assert_array_equal(shares[["1", "2"]].astype(float), cohort["patients"].X)
    assert shares["cells"].tolist() == cohort["patients"].obs["n_cells"].tolist()


def test_survival_and_numbers_at_risk(written):
    text = written.read_text(encoding="utf-8")
    groups = table(text, "Patients, events and median time, with its interval.")
    # by hand: arm one has events at 3 and 9 and is censored at 6; arm b has events at 5 and 8 and is censored at 11
    assert groups.loc[EVIL, ["n", "events", "median"]].tolist() == [3, 2, 9]
    assert groups.loc["b", ["n", "events", "median"]].tolist() == [3, 2, 8]
    risk = table(text, "Number at risk just before each time.")
    assert risk.columns.tolist() == ["0", "2", "4", "6", "8", "10"]
    assert risk.loc[EVIL].tolist() == [3, 3, 2, 2, 1, 0]
    assert risk.loc["b"].tolist() == [3, 3, 3, 2, 2, 1]


def test_each_test_has_its_n_its_correction_and_its_caveat(written, cohort):
    text, uns = written.read_text(encoding="utf-8"), cohort["patients"].uns
    overview = table(text, "All analyses with p-values.")
    assert overview["n"].tolist() == ["6 patients, 4 events"] * 2
    assert overview["smallest p"].to_dict() == {
        "Log-rank test: logrank (patients)": uns["logrank"]["p_value"],
        "Cox regression: cox (patients)": uns["cox"]["table"]["p_value"].min(),
    }
    assert "2 p-values in 2 analyses" in text
    assert "about 0.1 would be below 0.05" in text
    terms = table(text, "Terms of the regression.")
    for name in ("coef", "se", "hazard ratio", "ci low", "ci high", "p value"):
        assert terms.loc["age", name] == uns["cox"]["table"].loc["age", name.replace(" ", "_")]
    assert "p-values of the terms are not corrected for their number." in text
    assert "Few patients (6)" in text
    assert "Few events (4)" in text
    assert "The outcome ordered and named the groups, and did not make them" in text
    for doubt in uns["cox"]["doubts"]:
        assert html.escape(str(doubt)[1:]) in text


def test_the_record_of_the_embedding_and_the_methods(written, page):
    text, words = written.read_text(encoding="utf-8"), "".join(page.text)
    assert "We analysed 6 multiplexed images of 6 patients at 0.5 µm per pixel." in words
    assert "Cells were embedded with classical" in words
    assert "Survival was estimated after Kaplan and Meier" in words
    assert html.escape(sfm.models.card("classical").reference) in text
    assert table(text, "Licences under which the weights were given out.").loc["X_classical", "commercial use"] == "yes"
    assert table(text, "Versions with which this report was written.").loc["spatialfm", "version"] == sfm.__version__


# ------------------------------------------------------------------------------------------- what is there, and is not


def test_an_object_with_little_in_it_says_what_is_absent(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 4000, (2, 32, 32)).astype("uint16")
    image = Image2DModel.parse(pixels, dims=("c", "y", "x"), c_coords=["DAPI", EVIL])
    path = sfm.report(sd.SpatialData(images={"image_a": image}), tmp_path / "a.html")
    read = Strict(path.read_text(encoding="utf-8"))
    words = "".join(read.text)
    assert not read.wrong
    for sentence in (
        "No table of cells: no cell was measured.",
        "No embedding with a record is there.",
        "No column of phenotypes is there.",
        "No column of niches is there.",
        "No table of patients by phenotypes is there.",
        "No curves were made",
        "No result of a test",
        "Without a mask of cells: a.",
        f"Not resolved: {EVIL}.",
    ):
        assert sentence in words, sentence


def test_a_table_of_cells_alone(cohort, tmp_path):
    path = sfm.report(cohort["table"], tmp_path / "a.html")
    words = "".join(Strict(path.read_text(encoding="utf-8")).text)
    assert "A table of cells was passed, without images." in words
    assert "No example cells are shown: there are no images to cut them from." in words
    assert "Shares of phenotype among the cells of each patient." in words  # made from the cells
    assert "No curves of groups were made: all patients together." in words  # outcome of the cells' columns


def test_the_remembered_outcome_is_taken_and_tables_may_be_passed_by_name(cohort, tmp_path):
    clinical = cohort["samples"].obs.rename(columns={"time": "months", "event": "state"}).copy()
    clinical["state"] = clinical["state"].map({1: "dead", 0: "alive"})
    samples = ad.AnnData(obs=clinical)
    sfm.pp.set_outcome(samples, time_key="months", event_key="state", event_value="dead")
    small = sd.SpatialData(tables={"samples": samples})
    groups = table(sfm.report(small, tmp_path / "a.html").read_text("utf-8"), "Patients, events and median time")
    expected = sfm.tl.kaplan_meier(samples, copy=True)["groups"]
    assert groups.loc["all", ["n", "events"]].tolist() == expected.loc["all", ["n", "events"]].tolist()
    assert groups.loc["all", "events"] == (clinical["state"] == "dead").sum() > 0
    text = sfm.report(small, tmp_path / "b.html", patients={"one": cohort["patients"], "two": cohort["patients"]})
    assert table(text.read_text("utf-8"), "All analyses with p-values.").shape[0] == 4


def test_patients_may_be_passed_and_only_named_samples_are_opened(cohort, tmp_path, monkeypatch):
    opened = []
    from spatialfm.reporting import quality

    measure = quality.channel_quality
    monkeypatch.setattr(quality, "channel_quality", lambda *a, **k: opened.append(k["samples"]) or measure(*a, **k))
    names = list(cohort["samples"].obs_names)
    small = sd.SpatialData(
        images=dict(cohort.images),
        labels=dict(cohort.labels),
        tables={"table": cohort["table"], "samples": cohort["samples"]},
    )
    path = sfm.report(small, tmp_path / "a.html", samples=[names[2]], patients=cohort["patients"])
    text = path.read_text(encoding="utf-8")
    assert opened == [[names[2]]]
    assert f"Looked at: {names[2]}, which is 1 image of 6" in text
    assert table(text, "All analyses with p-values.").shape[0] == 2
    assert len(table(text, "Samples.")) == 6


def test_a_result_whose_table_has_changed_is_called_out_of_date(cohort, tmp_path):
    patients = cohort["patients"].copy()
    patients.obs["time"] = patients.obs["time"].to_numpy()[::-1]
    cells = ad.AnnData(obs=cohort["table"].obs[["sample", "patient"]])
    words = "".join(Strict(sfm.report(cells, tmp_path / "a.html", patients=patients).read_text(encoding="utf-8")).text)
    assert "Out of date: uns['cox'] was made of other data: obs['time'] changed since" in words
    assert "This figure is not drawn: uns['kaplan_meier'] was made of other data" in words


def test_weights_that_mean_nothing_or_may_not_be_sold_are_said(cohort, tmp_path):
    cells = cohort["table"].copy()
    record = dict(cells.uns["spatialfm"]["X_classical"])
    record |= {"weights": UNTRAINED, "commercial_use": 0, "weights_sha256": "abc123", "model": "of another's",
               "markers_dropped": '{"CD4": "not among markers="}', "license": EVIL}  # fmt: skip
    cells.uns["spatialfm"] = {"X_classical": record}
    path = sfm.report(cells, tmp_path / "a.html")
    text = path.read_text(encoding="utf-8")
    words = "".join(Strict(text).text)
    assert "Weights are random" in words
    assert "excludes commercial use" in words
    assert "SHA-256 abc123" in words
    assert "of another's: this model is not registered here; cite its paper" in words
    assert table(text, "Channels left out of the embedding, and why.").loc["CD4", "reason"] == "not among markers="


# ----------------------------------------------------------------------------------------------------------- the file


def test_a_file_is_never_replaced_unasked(cohort, tmp_path):
    path = tmp_path / "report.html"
    path.write_text("mine")
    with pytest.raises(InputFileError, match="is there already. Pass another path, or overwrite=True"):
        sfm.report(cohort, path)
    assert path.read_text() == "mine"
    cells = ad.AnnData(obs=cohort["table"].obs[["sample"]])
    assert sfm.report(cells, path, overwrite=True) == path
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]


def test_refusals_come_before_any_work_and_write_nothing(cohort, tmp_path):
    with pytest.raises(InputFileError, match="No folder"):
        sfm.report(cohort, tmp_path / "no" / "report.html")
    with pytest.raises(InputFileError, match="is a folder"):
        sfm.report(cohort, tmp_path)
    with pytest.raises(ElementError, match="No image of sample 'x'"):
        sfm.report(cohort, tmp_path / "a.html", samples=["x"])
    with pytest.raises(ElementError, match="names images to look at, and there are none"):
        sfm.report(cohort["table"], tmp_path / "a.html", samples=["x"])
    with pytest.raises(ElementError, match="No embedding 'X_kronos'"):
        sfm.report(cohort, tmp_path / "a.html", use_rep="X_kronos")
    for key in ("phenotype_key", "niche_key"):
        with pytest.raises(TableError, match=f"No column 'x' in obs of the cells \\({key}=\\)"):
            sfm.report(cohort, tmp_path / "a.html", **{key: "x"})
    assert not list(tmp_path.iterdir())


def test_what_fails_while_it_is_written_leaves_the_old_file(cohort, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")
    cells = ad.AnnData(obs=cohort["table"].obs[["sample"]])

    def full(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(sfm._errors.RunError, match="No space left on device. What was there is as it was"):
        sfm.report(cells, path, overwrite=True)
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]


def test_the_object_is_not_changed(cohort, tmp_path):
    def state():
        tables = {name: (list(one.obs), list(one.uns), list(one.obsm)) for name, one in cohort.tables.items()}
        return tables, sorted(cohort.attrs), sorted(name for _, name, _ in cohort.gen_elements())

    before = state()
    sfm.report(cohort, tmp_path / "a.html", samples=[])
    assert state() == before


def test_the_same_object_gives_the_same_report(cohort, tmp_path):
    cells = ad.AnnData(obs=cohort["table"].obs[["sample", "patient"]])
    call = {"patients": cohort["patients"]}
    one, two = (sfm.report(cells, tmp_path / name, **call).read_text("utf-8") for name in ("a.html", "b.html"))
    assert re.sub(r'datetime="[^"]*">[^<]*', "", one) == re.sub(r'datetime="[^"]*">[^<]*', "", two)


# --------------------------------------------------------------------------------------------------------- a browser


def browser() -> str | None:
    """A Chromium: the one that ``SPATIALFM_BROWSER`` names, or one that is installed."""
    return os.environ.get("SPATIALFM_BROWSER") or next((one for one in map(shutil.which, BROWSERS) if one), None)


def console_of(path: Path, tmp_path: Path) -> tuple[str, list[str]]:
    """What a browser makes of a page, and what it writes to the console."""
    command = [browser(), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
               "--enable-logging=stderr", "--dump-dom", path.as_uri()]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return ran.stdout, [line for line in ran.stderr.splitlines() if "CONSOLE" in line]


def picture_of(path: Path, tmp_path: Path, name: str, *options: str) -> np.ndarray:
    """The top of a page in grey, 0 to 255, as a browser shows it."""
    shot = tmp_path / f"{name}.png"
    command = [browser(), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
               "--window-size=1000,800", "--hide-scrollbars", f"--screenshot={shot}", *options,
               path.as_uri()]  # fmt: skip
    subprocess.run(command, capture_output=True, timeout=120, check=True)
    return np.asarray(PIL.Image.open(shot).convert("L"))


@pytest.mark.skipif(browser() is None, reason="no Chromium on this machine")
def test_it_is_read_in_the_dark_and_on_paper(written, tmp_path):
    """Most of a page is paper, white or dark; of text there is something on both."""
    bright = picture_of(written, tmp_path, "bright", "--blink-settings=preferredColorScheme=1")
    dark = picture_of(written, tmp_path, "dark", "--blink-settings=preferredColorScheme=0")
    assert np.median(bright) > 230
    assert np.median(dark) < 60
    assert bright.min() < 80
    assert dark.max() > 170
    paper = tmp_path / "page.pdf"
    command = [browser(), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
               "--no-pdf-header-footer", f"--print-to-pdf={paper}", written.as_uri()]  # fmt: skip
    subprocess.run(command, capture_output=True, timeout=120, check=True)
    content = paper.read_bytes()
    assert content.startswith(b"%PDF")
    assert content.count(b"/Type /Page\n") + content.count(b"/Type /Page ") + content.count(b"/Type /Page/") > 2


@pytest.mark.skipif(browser() is None, reason="no Chromium on this machine")
def test_a_browser_shows_it_without_an_error(written, page, tmp_path):
    broken = tmp_path / "broken.html"
    broken.write_text(
        written.read_text(encoding="utf-8").replace("</body>", '<img src="https://example.org/x.png"></body>')
    )
    assert console_of(broken, tmp_path)[1]  # an error is seen
    shown, console = console_of(written, tmp_path)
    assert not console
    assert shown.count("<table") == [name for name, _ in page.tags].count("table")
    assert shown.count("<img") == [name for name, _ in page.tags].count("img")
