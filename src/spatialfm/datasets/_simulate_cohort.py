"""``sfm.datasets.simulate_cohort``: images, label images and patients whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from .._progress import progress_bar
from .._public import public
from ._simulate_assemble import assemble
from ._simulate_difficulty import camera_of, settings_of
from ._simulate_options import check_effect_of, check_image, check_integer, check_number, check_panel
from ._simulate_patients import draw_patient
from ._simulate_sample import draw_sample

if TYPE_CHECKING:
    from spatialdata import SpatialData


@public
def simulate_cohort(
    n_patients: int = 24,
    *,
    n_samples: int = 2,
    image_size: int = 256,
    n_markers: int = 12,
    mpp: float = 0.5,
    effect_of: str = "tumor nest",
    effect_size: float = 1.0,
    baseline_hazard: float = 0.015,
    glass: float = 0.0,
    patients_per_slide: int = 8,
    difficulty: Literal["real", "easy"] = "real",
    detector: Literal["camera", "subtracted", "ions"] = "camera",
    brightness: tuple[float, float] | None = None,
    dim_markers: float | None = None,
    expression_spread: float | None = None,
    expression_tail: float | None = None,
    section_spread: float | None = None,
    nonspecific: float | None = None,
    continuum: float | None = None,
    marker_sharing: float | None = None,
    rare_share: float | None = None,
    cell_size_spread: float | None = None,
    granularity: float | None = None,
    polarity: float | None = None,
    batch_effect: float | None = None,
    unevenness: float | None = None,
    stitching: float | None = None,
    spillover: float | None = None,
    psf: float | None = None,
    halo: float | None = None,
    bleed_through: float | None = None,
    background: float | None = None,
    collagen: float | None = None,
    red_cells: float | None = None,
    camera_gain: float | None = None,
    camera_offset: float | None = None,
    read_noise: float | None = None,
    artifacts: str | Sequence[str] | None = None,
    artifact_rate: float | None = None,
    merge_rate: float | None = None,
    split_rate: float | None = None,
    miss_rate: float | None = None,
    dilation: int | None = None,
    nuclear_rate: float | None = None,
    mask_shift: float | None = None,
    random_state: int = 0,
) -> SpatialData:
    r"""Simulate images of a cohort of patients whose cells, niches and outcome are known.

    Tissue is laid out in four niches: vessels, lymphoid aggregates, tumor nests, and stroma around them. Cells keep
    a distance from each other; their types follow the niche, their place in it (macrophages at the border of tumor
    nests, B cells in the middle of aggregates, endothelial cells along vessels, few lymphocytes deep inside a nest)
    and their neighbours (regulatory T cells near CD8 T cells, CD4 T near dendritic cells, neutrophils together). Each
    cell has a continuous state (proliferation, exhaustion, polarization, …) that moves some of its markers. Patients
    differ in the shares of niches and types (logistic-normal), in states and in expression.

    Images have spill-over between touching cells, autofluorescence, a Gaussian point-spread function, staining and
    illumination that differ from slide to slide, Poisson and read noise, and artifacts. The segmentation that goes
    with them has errors; the true one is stored too. How much of each there is, is the `difficulty`.

    Parameters
    ----------
    n_patients
        Patients.
    n_samples
        Samples (images) of each patient.
    image_size
        Side of the images in pixels.
    mpp
        Pixel size of the images in µm.
    n_markers
        12 or 40; the first 12 are the same.
    effect_of
        What drives the outcome: the fraction of a patient's true cells that are in a niche (``"tumor nest"``,
        ``"stroma"``, ``"lymphoid aggregate"``, ``"vessel"``) or are of a phenotype (``"Tumor"``, ``"CD8 T"``,
        ``"CD4 T"``, ``"Treg"``, ``"B"``, ``"Macrophage"``, ``"Dendritic"``, ``"Neutrophil"``, ``"Fibroblast"``,
        ``"Endothelial"``).
    effect_size
        Log hazard ratio per standard deviation (over the cohort's patients) of that fraction. 0: the null cohort.
    baseline_hazard
        Deaths a month of a patient of 62 years, stage I, with the mean fraction.
    glass
        Share of every image, outside of the tissue, that is empty: no cells, no autofluorescence, no fibres or blood,
        a little stray light.
    patients_per_slide
        Patients on a slide.
    difficulty
        ``"easy"``: stains are specific, markers bright, and types told apart by several of them. ``"real"``: what
        makes real images hard, in the strengths with which simulated images come nearest to real ones in
        ``benchmarks/realism.py``. It decides each of the following that is None; :doc:`/simulation` has both columns.
    detector
        ``"camera"``: ``counts = offset + gain * Poisson(photons) + normal(0, read_noise)``. ``"subtracted"``: the
        expected offset and background taken off, and what is below them 0, as after a blank cycle. ``"ions"``: counts
        of ions, as of imaging mass cytometry and MIBI: no light of the tissue itself, few counts, many pixels
        without any; then `brightness`, `background` and the camera have other values.
    brightness
        Photons (or ions) a pixel at an expression of 1 of the dimmest and of the brightest marker; the others lie
        between, evenly in logs. Markers of one panel differ more than a hundredfold. None with ``"easy"``:
        160 to 800.
    dim_markers
        Factor of the light of the markers that alone tell related types apart (CD8, CD4, FOXP3, CD20, CD68, PD1, …):
        often these are the dim ones.
    expression_spread
        Standard deviation of the log of expression among cells of a type.
    expression_tail
        Heaviness of its tails, 0 to 0.5: one over the degrees of freedom of Student's t. 0: normal.
    section_spread
        Standard deviation of the log of how much of a cell is in the section: a factor of all of its markers.
    nonspecific
        Staining of any cell with any antibody, relative to that of a positive cell.
    continuum
        Share of cells that are between their type and a related one, by up to a half: real types are not islands.
    marker_sharing
        Share of what related types express that a type shows, too (CD4 on macrophages, CD68 on dendritic cells).
    rare_share
        Share of dendritic cells, the rarest type; neutrophils have twice, regulatory T cells four times that. They
        become no more frequent than with ``"easy"``, and neighbours that attract them may add a little.
    cell_size_spread
        Standard deviation of the log of a cell's diameter among cells of a type. All above 0.09 is shared by
        neighbours, which keep their distance accordingly. 0.28: cells of 4 to 25 µm.
    granularity
        Share of the light of stains outside the nucleus that sits in granules.
    polarity
        How one-sided stains outside the nucleus are: ``1 + polarity * cos`` of the angle to the pole of the cell.
    batch_effect
        Strength of the differences between slides (0: none).
    unevenness
        Standard deviation of the log of the efficiency of an antibody from place to place, over 40 µm.
    stitching
        Standard deviation of the log of the brightness of fields of view, 60 µm wide, that make up an image.
    spillover
        Share of a cell's membrane light that a touching cell shows at the contact; falls to 1/e over 0.8 µm.
    psf
        Standard deviation of the point-spread function in µm.
    halo
        Share of the light that is scattered over 3 µm: bright cells shine into their neighbours.
    bleed_through
        Share of a channel's light that the next channel shows, too.
    background
        Factor of background, autofluorescence and its structures.
    collagen
        Light of collagen fibres in stroma, in units of a marker's background; more in some channels than in others.
    red_cells
        Light of red blood cells in vessels, likewise.
    camera_gain
        Counts per photon.
    camera_offset
        Counts without light.
    read_noise
        Standard deviation of the read noise in counts.
    artifacts
        Any of ``"fold"``, ``"blur"``, ``"saturation"``, ``"dropout"`` (a patch that some antibodies did not reach),
        ``"seam"`` (a line where fields of view meet, blended and dark). ``()``: none.
    artifact_rate
        Probability of each artifact in each sample.
    merge_rate
        Expected share of true cells that the segmentation fuses with a touching one.
    split_rate
        Expected share of true cells that it cuts in two.
    miss_rate
        Expected share of true cells that it misses.
    dilation
        Pixels by which segmented outlines are too far out: all into the background, those of a third of the cells
        into their neighbours too.
    nuclear_rate
        Expected share of cells of which it outlines the nucleus alone; 1: masks of nuclei.
    mask_shift
        Standard deviation in µm of the offset of a sample's masks from its image, along each axis.
    random_state
        Seed; the same seed gives the same bytes. Tissue and image of a sample depend on the seed, the patient's and
        the sample's number, not on how many others there are.

    Returns
    -------
    SpatialData with, for each sample (``P001_1``, ``P001_2``, …), in one coordinate system of its name in µm:

    - ``image_<sample>``: uint16 ``(c, y, x)``. Without artifacts nothing saturates with ``"easy"``; with ``"real"``
      some pixels of the very brightest cells do (one in 100,000).
    - ``cells_<sample>``: the segmentation that a user would have; ``true_cells_<sample>``: the true one.
    - ``artifacts_<sample>``, where artifacts were asked for: 0 clean, 1 fold, 2 blur, 3 saturation, 4 dropout,
      5 seam.
    - ``true_tissue_<sample>``, where glass was asked for: 1 tissue, 0 glass.

    and the tables

    - ``samples``: one row per sample; ``patient``, ``slide``, ``age``, ``sex``, ``stage``, ``treatment``,
      ``response``, ``time`` (months), ``event`` (1: died, 0: censored).
    - ``truth``: one row per true cell, annotates ``true_cells_<sample>``; ``type``, ``niche``, ``state`` (0 to 1),
      ``state_name``, ``sample``, ``patient``; with a `continuum` also ``other_type`` and ``other_share``, how much of
      the cell is of that type (0 to 0.5); ``X`` the relative expression; ``obsm["spatial"]`` the centroid in µm.

    ``sdata.attrs["truth"]`` holds parameters, effect, patients (``fraction``, ``z``, ``log_hazard``, ``hazard``, …),
    slides, compartments of the markers, counts of segmentation errors and artifact codes, ready for JSON. There is
    no cell table: :func:`spatialfm.pp.cell_table` makes it from the images, without a look at the truth.

    Raises
    ------
    SpatialfmError
        If an argument has a value that is not valid; the message names it and those that are.

    See Also
    --------
    simulate_cells : the same tissue without pixels, a thousand times faster.

    Notes
    -----
    With :math:`f_i` the fraction of patient `i`, and mean and standard deviation over the cohort's patients,

    .. math::
        z_i = \frac{f_i - \bar f}{\mathrm{sd}(f)}, \qquad
        h_i = h_0 \exp\Bigl(\beta z_i + 0.25\,(\mathrm{stage}_i - 1) + 0.2\,\frac{\mathrm{age}_i - 62}{10}\Bigr)

    with :math:`\beta` = `effect_size` and :math:`h_0` = `baseline_hazard`. Hazards are constant in time and
    proportional; survival times are exponential, follow-up is uniform from 24 to 84 months and ends in censoring.
    Response is drawn with :math:`\mathrm{logit}\,P(\mathrm{responder}) = -0.2 - \beta z_i`: what raises the hazard
    lowers the odds of response by the same factor. Sex, treatment and slide have no effect.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(2, n_samples=1, image_size=64, difficulty="easy")
    >>> sorted(sdata.images), sorted(sdata.tables)
    (['image_P001_1', 'image_P002_1'], ['samples', 'truth'])
    >>> sdata.attrs["truth"]["effect"]["log_hazard_ratio_per_sd"]
    1.0
    """
    given = dict(locals())
    parameters = settings_of(difficulty, given) | {
        "difficulty": difficulty,
        "n_patients": check_integer("n_patients", n_patients, 1),
        "n_samples": check_integer("n_samples", n_samples, 1),
        **dict(zip(("image_size", "mpp"), check_image(image_size, mpp), strict=True)),
        "n_markers": check_panel(n_markers),
        "effect_of": check_effect_of(effect_of),
        "effect_size": check_number("effect_size", effect_size, -np.inf),
        "baseline_hazard": check_number("baseline_hazard", baseline_hazard, 1e-6),
        "glass": check_number("glass", glass, 0, 0.9),
        "patients_per_slide": check_integer("patients_per_slide", patients_per_slide, 1),
        "random_state": check_integer("random_state", random_state, 0),
    }
    camera = camera_of(parameters)
    seed = parameters["random_state"]
    patients = [draw_patient(i, seed, parameters["patients_per_slide"]) for i in range(n_patients)]
    jobs = [(patient, s) for patient in patients for s in range(n_samples)]
    samples = [draw_sample(patient, s, parameters, camera) for patient, s in progress_bar(jobs, desc="simulate_cohort")]
    return assemble(patients, samples, parameters, camera)
