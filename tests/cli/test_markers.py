"""``spatialfm markers``."""

from __future__ import annotations

import numpy as np
import tifffile

from spatialfm.cli import main


def test_markers_reads_names_a_text_file_and_the_channels_of_a_tiff(tmp_path, capsys):
    (tmp_path / "panel.txt").write_text("# my panel\nCD8a\n\nBlank\n", encoding="utf-8")
    metadata = {"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "Channel": {"Name": ["CD8a", "Blank"]}}
    tifffile.imwrite(tmp_path / "core.ome.tif", np.zeros((2, 32, 32), np.uint16), metadata=metadata)
    printed = []
    for arguments in (["CD8a", "Blank"], [str(tmp_path / "panel.txt")], [str(tmp_path / "core.ome.tif")]):
        assert main(["markers", *arguments]) == 0
        printed.append(capsys.readouterr().out)
    assert "alias" in printed[0]
    assert "ignored" in printed[0]
    assert printed[0] == printed[1] == printed[2]
