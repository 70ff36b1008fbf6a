"""Small .mcd and .txt files as an imaging mass cytometer writes them, and the cases of `read_mcd`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from reading import Case, Refusal, Sample, blobs, measured

import spatialfm as sfm

METALS = ("Ir191", "Er170", "Dy162")
LABELS = ("DNA1_Ir191", "CD3_1841((3532))Er170", "CD8a")
CORNER = (15_000.0, 12_800.0)  # top left of the first acquisition on the slide, µm, y up
PICTURE_CORNER = (14_990.0, 12_805.0)  # of the panorama: 10 µm left of it, and 5 above


def _tag(name: str, **values: object) -> str:
    return f"<{name}>" + "".join(f"<{key}>{value}</{key}>" for key, value in values.items()) + f"</{name}>"


def counts_of(shape: tuple[int, int, int], start: int = 0) -> np.ndarray:
    """Float pixels ``(c, y, x)`` that all differ."""
    return (start + np.arange(np.prod(shape), dtype=np.float32) / 4).reshape(shape)


def rows_of(pixels: np.ndarray, *, columns_first: bool = False) -> np.ndarray:
    """X, Y, Z and the channels of each pixel, in the order of ablation."""
    n_channels, height, width = pixels.shape
    y, x = np.mgrid[:height, :width]
    rows = np.column_stack([x.ravel(), y.ravel(), np.arange(height * width), pixels.reshape(n_channels, -1).T])
    return (rows[np.lexsort((y.ravel(), x.ravel()))] if columns_first else rows).astype("<f4")


def write_mcd(
    path: Path,
    images: Sequence[np.ndarray],
    *,
    labels: Sequence[str] = LABELS,
    metals: Sequence[str] = METALS,
    mpp: float = 1.0,
    rows: Sequence[np.ndarray] | None = None,
    picture: np.ndarray | None = None,
) -> None:
    """An .mcd file: pictures and pixels, then the schema in UTF-16."""
    body, xml = io.BytesIO(), []
    body.write(b"\xff" * 64)
    xml.append(_tag("Slide", ID=0, Description="Slide", WidthUm=75000, HeightUm=25000, SwVersion="7.0"))
    if picture is not None:
        start = body.tell()
        body.write(b"\0" * 161)
        Image.fromarray(picture).save(body, format="PNG")
        body.write(b"\0")
        height, width = picture.shape[:2]
        (x, y), step = PICTURE_CORNER, 2.0  # µm per pixel
        places = {"1": (0, 0), "2": (width, 0), "3": (width, height), "4": (0, height)}
        corners = {f"SlideX{i}PosUm": x + step * dx for i, (dx, _) in places.items()}
        corners |= {f"SlideY{i}PosUm": y - step * dy for i, (_, dy) in places.items()}
        xml.append(
            _tag(
                *["Panorama"],
                **{"ID": 1, "SlideID": 0, "Description": "overview", **corners},
                **{
                    "ImageStartOffset": start,
                    "ImageEndOffset": body.tell(),
                    "ImageFormat": "PNG",
                    "Type": "Instrument",
                },
            )
        )
    xml.append(_tag("Panorama", ID=9, SlideID=0, Description="ROIs", Type="Default"))
    for number, pixels in enumerate(images, 1):
        values = rows_of(pixels) if rows is None else rows[number - 1]
        start = body.tell()
        body.write(values.tobytes())
        _, height, width = pixels.shape
        x, y = CORNER[0] + 1000 * (number - 1), CORNER[1]
        xml.append(_tag("AcquisitionROI", ID=number, PanoramaID=9, Description=f"ROI_00{number}"))
        for i, (dx, dy) in enumerate([(0, 0), (width, 0), (width, height), (0, height)], 1):
            place = {"SlideXPosUm": x + mpp * dx, "SlideYPosUm": y - mpp * dy}
            xml.append(_tag("ROIPoint", ID=10 * number + i, AcquisitionROIID=number, OrderNumber=i, **place))
        xml.append(
            _tag(
                *["Acquisition"],
                **{"ID": number, "Description": f"tumour {number}", "AcquisitionROIID": number, "OrderNumber": 0},
                **{"AblationDistanceBetweenShotsX": mpp, "AblationDistanceBetweenShotsY": mpp},
                **{"DataStartOffset": start, "DataEndOffset": body.tell(), "SegmentDataFormat": "Float"},
                **{"ValueBytes": 4, "MaxX": width, "MaxY": height},
            )
        )
        names = ["X", "Y", "Z", *(f"{metal[:2]}({metal[2:]})" for metal in metals)]
        for order, (name, label) in enumerate(zip(names, ["X", "Y", "Z", *labels], strict=True)):
            ids = {"ID": 100 * number + order, "OrderNumber": order, "AcquisitionID": number}
            xml.append(_tag("AcquisitionChannel", ChannelName=name, ChannelLabel=label, **ids))
    schema = '<MCDSchema xmlns="http://www.fluidigm.com/IMC/MCDSchema_V2_0.xsd">' + "".join(xml) + "</MCDSchema>"
    path.write_bytes(body.getvalue() + schema.encode("utf-16-le"))


def write_text(path: Path, pixels: np.ndarray, labels: Sequence[str] = LABELS, metals: Sequence[str] = METALS) -> None:
    """A .txt file of one acquisition."""
    channels = [f"{label}({metal}Di)" for label, metal in zip(labels, metals, strict=True)]
    header = ["Start_push", "End_push", "Pushes_duration", "X", "Y", "Z", *channels]
    lines = ["\t".join(header)]
    for i, row in enumerate(rows_of(pixels)):
        lines.append("\t".join([f"{i}", f"{i + 1}", "384", *(f"{value:.0f}" for value in row[:3])]))
        lines[-1] += "".join(f"\t{value:.3f}" for value in row[3:])
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write(folder: Path) -> list[Sample]:
    """An .mcd file of two acquisitions with a panorama, and masks of both."""
    images = [counts_of((3, 20, 28)), counts_of((3, 28, 21), start=9)]
    samples = [
        Sample(f"slide_1_00{i}", 1.0, LABELS, pixels, blobs(*pixels.shape[1:], first=i))
        for i, pixels in enumerate(images, 1)
    ]
    write_mcd(folder / "slide 1.mcd", images, picture=np.full((20, 30, 3), 7, np.uint8))
    (folder / "masks").mkdir()
    for i, sample in enumerate(samples, 1):
        tifffile.imwrite(folder / "masks" / f"slide 1_00{i}_mask.tiff", sample.labels)
    return samples


def write_folder_of_text(folder: Path) -> list[Sample]:
    """Two .txt files."""
    samples = []
    for i in (1, 2):
        pixels = counts_of((3, 9, 7 + i), start=i)
        write_text(folder / f"slide 1_ROI_{i}.txt", pixels)
        samples.append(Sample(f"slide_1_ROI_{i}", 1.0, LABELS, pixels))
    return samples


def edited(old: str, new: str):
    """Text of the schema changed; the pixels stay where they are."""

    def damage(folder: Path) -> None:
        path = folder / "slide 1.mcd"
        raw = path.read_bytes()
        start = raw.rfind("<MCDSchema".encode("utf-16-le"))
        schema = raw[start:].decode("utf-16-le")
        assert old in schema
        path.write_bytes(raw[:start] + schema.replace(old, new, 1).encode("utf-16-le"))

    return damage


def cut(folder: Path) -> None:
    """Copied without its end, where the schema is."""
    path = folder / "slide 1.mcd"
    path.write_bytes(path.read_bytes()[:9000])


def _cut_line(folder: Path) -> None:
    path = folder / "slide 1_ROI_2.txt"
    path.write_bytes(path.read_bytes()[:-7])


def _cut_row(folder: Path) -> None:
    path = folder / "slide 1_ROI_2.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-3]))


def _mask_of_another(folder: Path) -> None:
    tifffile.imwrite(folder / "masks" / "slide 1_002_mask.tiff", blobs(30, 31))


def read_one(folder: Path, **options):
    """The .mcd file with its masks."""
    return sfm.io.read_mcd(folder / "slide 1.mcd", **{"masks": folder / "masks", "cell_table": False, **options})


CASES = [
    Case(
        "read_mcd",
        write,
        read_one,
        pixel_readers=("spatialfm.io._mcd_array:McdArray._rows", "spatialfm.io._reader:read_page"),
        refusals=(
            Refusal("cut", cut, "slide 1.mcd' is damaged: .*The schema stands at the end of the file"),
            Refusal("schema-broken", edited("</Slide>", ""), "slide 1.mcd' is damaged"),
            Refusal(
                "offsets-beyond-the-file",
                edited("<DataEndOffset>", "<DataEndOffset>9"),
                "(?s)1 acquisition of 2 cannot be read.*acquisition 1 .tumour 1. .*its pixels would be at bytes",
            ),
            Refusal("offsets-odd", edited("<MaxX>28", "<MaxX>8"), "holds 560 pixels and states 8 x 20"),
            Refusal("other-values", edited("<ValueBytes>4", "<ValueBytes>2"), "Float of 2 bytes"),
            Refusal("size-unknown", edited("<MaxY>20</MaxY>", ""), "metadata are incomplete .KeyError: 'MaxY'"),
            Refusal("mask-of-another-image", _mask_of_another, "slide_1_002.*30 x 31 pixels .* 28 x 21"),
            Refusal(
                "masks-of-another-slide",
                lambda folder: [one.rename(one.with_name(f"x{one.name}")) for one in (folder / "masks").iterdir()],
                "no mask named as an acquisition",
            ),
            Refusal("empty", lambda folder: (folder / "slide 1.mcd").write_bytes(b""), "is empty .0 bytes."),
            Refusal("not-there", lambda folder: (folder / "slide 1.mcd").unlink(), "No file '.*slide 1.mcd'"),
            Refusal(
                "panel-of-another-experiment",
                lambda folder: (folder / "panel.csv").write_text("channel,name\nEr170,CD3\nXe131,Xe\n"),
                "The panel keeps 'Xe131'",
                lambda folder: read_one(folder, panel=folder / "panel.csv"),
            ),
            Refusal(
                "no-such-acquisition",
                lambda folder: None,
                "no acquisition 7, but 1 .tumour 1., 2",
                lambda folder: read_one(folder, acquisitions=[1, 7]),
            ),
        ),
    ),
    Case(
        "read_mcd-cells",
        write,
        lambda folder: read_one(folder, cell_table=True),
        pixel_readers=("spatialfm.io._mcd_array:McdArray._rows",),
        cells=measured,
        measures=True,
    ),
    Case(
        "read_mcd-txt",
        write_folder_of_text,
        sfm.io.read_mcd,
        pixel_readers=("spatialfm.io._imc_text:parse_text",),
        refusals=(
            Refusal("ends-within-a-line", _cut_line, "slide 1_ROI_2.txt' ends within a line"),
            Refusal("ends-within-a-row", _cut_row, "ends at x = 5, y = 8, within a row of 9"),
            Refusal(
                "another-text",
                lambda folder: (folder / "slide 1_ROI_1.txt").write_text("a\tb\n1\t2\n"),
                "is not a text file of an imaging mass cytometer: it begins with 'a', 'b'",
                lambda folder: sfm.io.read_mcd(sorted(folder.glob("*.txt"))),
            ),
            Refusal("nothing", lambda folder: [one.unlink() for one in folder.iterdir()], "contains no .mcd file"),
        ),
    ),
]
