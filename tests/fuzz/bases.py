"""Small whole files of every kind that the readers take: what is damaged afterwards."""

from __future__ import annotations

import gzip
import io
import json

import numpy as np
import tifffile

NAMES = ["DAPI", "CD3", "CD8"]
SHAPE = (32, 40)


def bases() -> dict[str, bytes]:
    """Name with suffix, and content; the name begins with how the file is read (`image`, `labels`, `table` ...)."""
    return _images() | _masks() | _texts() | _weights()


def _tiff(pixels: np.ndarray, **options) -> bytes:
    stream = io.BytesIO()
    options.setdefault("software", "base")
    ome, metadata = options.pop("ome", False), options.get("metadata")
    big, order = options.pop("bigtiff", False), options.pop("byteorder", "<")
    with tifffile.TiffWriter(stream, ome=ome, bigtiff=big, byteorder=order, imagej=options.pop("imagej", False)) as tif:
        if metadata is not None:
            options["metadata"] = metadata
        tif.write(pixels, **options)
    return stream.getvalue()


def _pixels(n: int = 3, dtype: str = "uint16") -> np.ndarray:
    rows, columns = np.indices(SHAPE)
    planes = [(i + 3) * rows + columns**2 // (i + 5) for i in range(n)]  # smooth, so that the corpus stays small
    return np.stack(planes).astype(dtype)


def _pyramid() -> bytes:
    stream = io.BytesIO()
    pixels = np.tile(_pixels(), (1, 2, 2))
    with tifffile.TiffWriter(stream, ome=True) as tif:
        tif.write(pixels, subifds=1, tile=(16, 16), compression="deflate", metadata=_ome())
        tif.write(pixels[:, ::2, ::2], subfiletype=1, tile=(16, 16), compression="deflate")
    return stream.getvalue()


def _qptiff() -> bytes:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as tif:
        for name, plane in zip(NAMES, _pixels(), strict=True):
            text = f'<?xml version="1.0"?><PerkinElmer-QPI-ImageDescription><Biomarker>{name}</Biomarker>'
            text += "</PerkinElmer-QPI-ImageDescription>"
            tif.write(plane, description=text, resolution=(20000, 20000), resolutionunit=3, metadata=None)
    return stream.getvalue()


def _ome(**more) -> dict:
    return {"axes": "CYX", "Channel": {"Name": NAMES}, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5} | more


def _images() -> dict[str, bytes]:
    pixels, colours = _pixels(), np.moveaxis(_pixels(dtype="uint8"), 0, -1)
    files = {
        "ome_raw.ome.tif": _tiff(pixels, ome=True, metadata=_ome()),
        "ome_tiles.ome.tif": _tiff(pixels, ome=True, metadata=_ome(), tile=(16, 16), compression="deflate"),
        "ome_pyramid.ome.tif": _pyramid(),
        "ome_cycles.ome.tif": _tiff(pixels[:2], ome=True, metadata={"axes": "CYX", "SignificantBits": 12}),
        "big.tif": _tiff(pixels, bigtiff=True, metadata=None),
        "big_endian.tif": _tiff(pixels, byteorder=">", metadata=None, photometric="minisblack"),
        "imagej.tif": _tiff(pixels, imagej=True, metadata={"axes": "CYX", "Labels": NAMES, "unit": "um"}),
        "shaped.tif": _tiff(pixels, metadata={"axes": "CYX"}, photometric="minisblack"),
        "lzw.tif": _tiff(pixels, compression="lzw", predictor=2, rowsperstrip=8, metadata=None),
        "zstd.tif": _tiff(pixels, compression="zstd", metadata=None),
        "lzma.tif": _tiff(pixels, compression="lzma", metadata=None),
        "packbits.tif": _tiff(pixels.astype("uint8"), compression="packbits", metadata=None, photometric="minisblack"),
        "float.tif": _tiff(pixels.astype("float32"), compression="deflate", predictor=3, metadata=None),
        "jpeg.tif": _tiff(colours, compression="jpeg", photometric="rgb", tile=(16, 16), metadata=None),
        "jpeg2000.tif": _tiff(pixels, compression="jpeg2000", metadata=None, photometric="minisblack"),
        "webp.tif": _tiff(colours, compression="webp", photometric="rgb", metadata=None),
        "lerc.tif": _tiff(pixels, compression="lerc", metadata=None, photometric="minisblack"),
        "colours.tif": _tiff(colours, photometric="rgb", metadata=None),
        "resolution.tif": _tiff(pixels, resolution=(20000, 20000), resolutionunit="CENTIMETER", metadata=None),
        "qptiff.tif": _qptiff(),
    }
    return {f"image_{name}": content for name, content in files.items()}


def _masks() -> dict[str, bytes]:
    mask = np.zeros(SHAPE, np.uint16)
    for i in range(4):
        for j in range(5):
            mask[8 * i + 1 : 8 * i + 6, 8 * j + 1 : 8 * j + 6] = 5 * i + j + 1
    files = {
        "raw.tif": _tiff(mask, metadata=None),
        "deflate.tif": _tiff(mask, compression="deflate", tile=(16, 16), metadata=None),
        "zstd.tif": _tiff(mask.astype("uint32"), compression="zstd", rowsperstrip=8, metadata=None),
        "planes.ome.tif": _tiff(np.stack([mask, mask]), ome=True, metadata={"axes": "CYX"}),
        "float.tif": _tiff(mask.astype("float32"), metadata=None),
    }
    return {f"labels_{name}": content for name, content in files.items()}


def _weights() -> dict[str, bytes]:
    import torch
    from safetensors.torch import save

    tensors = {"patch.weight": torch.arange(12.0).reshape(3, 4), "patch.bias": torch.zeros(3)}
    stream = io.BytesIO()
    torch.save(tensors, stream)
    return {"weights_model.safetensors": save(tensors), "weights_model.pt": stream.getvalue()}


def _texts() -> dict[str, bytes]:
    cohort = "sample,patient,image,labels,age,stage,os_months,event\n" + "".join(
        f"s{i},p{i},image.tif,labels.tif,{40 + i},{'I' * (i % 3 + 1)},{10.5 * i},{i % 2}\n" for i in range(1, 4)
    )
    panel = "number,name,clone,keep\n" + "".join(f'{i},"{name}",x{i},1\n' for i, name in enumerate(NAMES))
    fasta = ">sp|P01730|CD4_HUMAN T-cell surface glycoprotein CD4\nMNRGVPFRHLLLVLQLALLPAATQGKKVVLGKKGDTVELTCTAS\n"
    fasta += (
        ">P08575-8\nMYLWLKLLAFGFAFLDTEVFVTGQSPTPSPTG\n>sp|P42574|CASP3_HUMAN\nMENTENSVDSKSIKNLEPKIIHGSESMDSGISLDNSY\n"
    )
    vector = io.BytesIO()
    np.save(vector, np.arange(8, dtype=np.float32))
    xml = tifffile.TiffFile(io.BytesIO(_tiff(_pixels(), ome=True, metadata=_ome()))).ome_metadata
    return {
        "table_cohort.csv": cohort.encode(),
        "table_cohort.tsv": cohort.replace(",", "\t").encode("utf-16"),
        "table_semicolons.csv": cohort.replace(",", ";").replace("10.5", "10,5").encode("cp1252"),
        "names_panel.csv": panel.encode(),
        "names_list.txt": b"# panel\nDAPI\nCD3\nCD8\n",
        "fasta_proteins.fasta": fasta.encode(),
        "fasta_proteins.fasta.gz": gzip.compress(fasta.encode(), mtime=0),
        "vector_P01730.npy": vector.getvalue(),
        "xml_set.ome.tif": xml.encode(),
        "json_panel.csv": json.dumps({"name": NAMES}).encode(),
    }
