"""Files of other kinds than TIFF: what they are, and what to do with them."""

from __future__ import annotations

from pathlib import Path

CONVERT = (
    "Convert it at full resolution to OME-TIFF (in Fiji: open it with Bio-Formats, then Plugins > Bio-Formats > "
    "Bio-Formats Exporter; in QuPath: File > Export images) or to OME-Zarr (bioformats2raw)."
)
MICROSCOPES = {
    ".czi": "Zeiss",
    ".nd2": "Nikon",
    ".lif": "Leica",
    ".lof": "Leica",
    ".xlef": "Leica",
    ".oir": "Olympus",
    ".oib": "Olympus",
    ".oif": "Olympus",
    ".vsi": "Olympus",
    ".ims": "Imaris",
    ".mrxs": "3DHISTECH",
    ".bif": "Ventana",
    ".dv": "DeltaVision",
    ".dcm": "DICOM",
}
ADVICE = {
    ".mcd": "one of an imaging mass cytometer. Read it with sfm.io.read_mcd(path).",
    ".qpdata": "what QuPath stores beside an image. Export the measurements and read them with sfm.io.read_qupath.",
    ".geojson": "outlines of cells and no image. Read it with sfm.io.read_geojson(cells, image).",
    ".gz": "a file that is compressed as a whole. Unpack it first.",
    ".zip": "an archive. Unpack it first.",
    ".npy": "an array (.npy), which is read as labels= and not as an image. Save the image as OME-TIFF.",
    ".npz": "an array (.npz), which is read as labels= and not as an image. Save the image as OME-TIFF.",
    ".png": "a picture (PNG), which is read as labels= where its name ends so, and not as an image. Pass a TIFF.",
    ".jpg": "a picture (JPEG), whose values are not those that were measured. Pass the image as it was exported.",
    ".h5": "an HDF5 file. Save the array in it as OME-TIFF, with its pixel size and channel names.",
}
ALIKE = {".jpeg": ".jpg", ".hdf5": ".h5", ".hdf": ".h5"}
# first bytes of files whose names end otherwise
MAGIC = {
    b"ZISR": ".czi",
    b"\xda\xce\xbe\x0a": ".nd2",
    b"\x89HDF": ".h5",
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"\x1f\x8b": ".gz",
    b"PK\x03\x04": ".zip",
    b"\x93NUM": ".npy",
}


def no_tiff(path: Path, start: bytes) -> str:
    """What a file is that does not begin as a TIFF does, and the way from it to one that is read.

    Examples
    --------
    >>> no_tiff(Path("scan.mcd"), b"XXXX")
    "'scan.mcd' is not a TIFF file but one of an imaging mass cytometer. Read it with sfm.io.read_mcd(path)."
    """
    suffix = path.suffix.lower()
    kind = next((of for first, of in MAGIC.items() if start.startswith(first)), "")
    kind = suffix if suffix in MICROSCOPES or suffix in ADVICE else kind or ALIKE.get(suffix, suffix)
    if kind in MICROSCOPES:
        return f"'{path}' is not a TIFF file but one of {MICROSCOPES[kind]} ({kind}), which is not read here. {CONVERT}"
    if kind in ADVICE:
        return f"'{path}' is not a TIFF file but {ADVICE[kind]}"
    return f"'{path}' is not a TIFF file (it starts with {start!r}). Pass a TIFF, or save the image as one."
