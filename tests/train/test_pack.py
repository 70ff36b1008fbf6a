from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from window_models import PANEL, PROTEINS, ById, ByProtein, described, pictures

from spatialfm._errors import RunError
from spatialfm.train import Windows
from spatialfm.train.batch import random_of
from spatialfm.train.pack import Pack, decoded, encoded

SMALL = {"size": 32, "crop": 16, "recipe": {"tissue": "all"}}


@pytest.fixture
def sdata(make_sdata):
    return make_sdata({"a": (pictures(0), None), "b": (pictures(1)[:4], None)}, {"a": PANEL, "b": PANEL[:4]})


def test_whole_numbers_come_back_exactly(sdata, tmp_path):
    plain = Windows(sdata, ById(), **SMALL)
    packed = Windows(sdata, ById(), **SMALL, cache=tmp_path / "pack")
    assert (tmp_path / "pack" / "pixels.bin").stat().st_size == 9 * (5 + 4) * 32 * 32 * 2
    for index in (0, 7, 12):
        assert torch.equal(packed[index].pixels, plain[index].pixels)
        one, other = (data.sample(index, random_of(0, 3, 1, 1)) for data in (packed, plain))
        assert one.names == other.names
        assert torch.equal(one.pixels, other.pixels)


@pytest.mark.parametrize(("kind", "steps"), [("uint16", 2**-17), ("float16", 2**-11)])
def test_prepared_pixels_come_back_within_the_steps_of_the_type(sdata, tmp_path, kind, steps):
    """log(1 + x) is at most log(65536) = 11.1; a value is off by 2^-17 of the range, or by 2^-11 of itself."""
    plain = Windows(sdata, ByProtein(), **SMALL, panel=PROTEINS)
    packed = Windows(sdata, ByProtein(), **SMALL, panel=PROTEINS, cache=tmp_path / "pack", cache_type=kind)
    for index in (0, 13):
        std = plain.standards[int(plain.table["image"][index])].std
        apart = (packed[index].pixels - plain[index].pixels).abs().amax((1, 2)).numpy() * std
        assert apart.max() < 11.1 * steps * 1.01
        assert apart.max() > 11.1 * steps / 50  # it was rounded


def test_windows_of_rounded_pixels_are_others(sdata, tmp_path):
    """A run that began with them would not end with the same weights without, or with others."""
    exact = [{}, {"cache": tmp_path / "exact"}]
    plain, packed = (Windows(sdata, ById(), **SMALL, **options).parts() for options in exact)
    assert packed == plain
    rounded = Windows(sdata, ById(), **SMALL, cache=tmp_path / "half", cache_type="float16").parts()
    assert [name for name in plain if rounded[name] != plain[name]] == ["cache_type"]
    logs = [{}, {"cache": tmp_path / "logs"}, {"cache": tmp_path / "half logs", "cache_type": "float16"}]
    parts = [Windows(sdata, ByProtein(), **SMALL, panel=PROTEINS, **options).parts()["cache_type"] for options in logs]
    assert len(set(parts)) == 3


def test_a_pack_that_is_cut_off_in_mid_run_is_said(sdata, tmp_path):
    """The system ends a process that reads a map beyond the end of its file, without a word."""
    windows = Windows(sdata, ById(), **SMALL, cache=tmp_path / "pack")
    before = windows[0].pixels
    os.truncate(tmp_path / "pack" / "pixels.bin", 100_000)
    with pytest.raises(RunError, match=r"are damaged: pixels.bin has 100,000 bytes, not 165,888. Delete that folder"):
        windows[17]
    os.truncate(tmp_path / "pack" / "pixels.bin", 165_888)
    with pytest.raises(RunError, match=r"are damaged: window 17 of pixels.bin is not as it was written"):
        windows[17]
    assert torch.equal(windows[0].pixels, before)
    (tmp_path / "pack" / "pixels.bin").unlink()  # what is mapped stays there
    assert torch.equal(windows[1].pixels, Windows(sdata, ById(), **SMALL)[1].pixels)


def test_split_windows_read_their_own_pixels(make_sdata, tmp_path):
    images = {"a": (pictures(0), None), "b": (pictures(1), None)}
    sdata = described(make_sdata(images, PANEL), patient=["p1", "p2"])
    packed = Windows(sdata, ById(), **SMALL, cache=tmp_path / "pack")
    plain = Windows(sdata, ById(), **SMALL)
    for one, other in zip(packed.split(["p1"]), plain.split(["p1"]), strict=True):
        assert torch.equal(one[4].pixels, other[4].pixels)


def reads(folder, monkeypatch, sdata, **options):
    """How many windows were read from images to complete a pack."""
    n, read = [], Windows._whole
    monkeypatch.setattr(Windows, "_whole", lambda self, index: (n.append(index), read(self, index))[1])
    windows = Windows(sdata, ById(), **SMALL | options, cache=folder)
    return n, windows


def test_what_was_stopped_goes_on_after_the_last_whole_window(sdata, tmp_path, monkeypatch):
    whole = Windows._whole

    def stops(self, index):
        if index == 6:
            raise KeyboardInterrupt
        return whole(self, index)

    monkeypatch.setattr(Windows, "_whole", stops)
    with pytest.raises(KeyboardInterrupt):
        Windows(sdata, ById(), **SMALL, cache=tmp_path / "pack")
    # half a window, and a line that was not finished
    with open(tmp_path / "pack" / "pixels.part", "ab") as file:
        file.write(b"xx")
    with open(tmp_path / "pack" / "log.part", "ab") as file:
        file.write(b"yy")
    monkeypatch.setattr(Windows, "_whole", whole)
    n, windows = reads(tmp_path / "pack", monkeypatch, sdata)
    assert n == list(range(6, 18))
    plain = Windows(sdata, ById(), **SMALL)
    assert all(torch.equal(windows[index].pixels, plain[index].pixels) for index in range(18))
    assert sorted(os.listdir(tmp_path / "pack")) == [".lock", "index.npz", "pack.json", "pixels.bin"]


def test_a_window_that_reached_the_disk_in_part_is_packed_again(sdata, tmp_path, monkeypatch):
    """What a loss of power leaves: the line is there, the pixels are zeros."""
    Windows(sdata, ById(), **SMALL, cache=tmp_path / "pack")
    folder = tmp_path / "pack"
    log = b""
    with np.load(folder / "index.npz") as index:
        numbers, at = index["numbers"], 0
        for window in range(4):
            log += index["sums"][window].tobytes() + numbers[at : at + 5].tobytes()
            at += 5
    pixels = bytearray((folder / "pixels.bin").read_bytes()[: 4 * 5 * 2048])
    pixels[2 * 5 * 2048 : 2 * 5 * 2048 + 100] = bytes(100)
    header = json.loads((folder / "pack.json").read_text())
    header.pop("index")
    (folder / "pack.json").unlink()
    (folder / "begun.json").write_text(json.dumps(header))
    (folder / "pixels.part").write_bytes(pixels)
    (folder / "log.part").write_bytes(log)
    n, windows = reads(folder, monkeypatch, sdata)
    assert n == list(range(2, 18))
    assert torch.equal(windows[2].pixels, Windows(sdata, ById(), **SMALL)[2].pixels)


def test_a_call_that_was_stopped_between_the_two_last_steps_packs_nothing_again(sdata, tmp_path, monkeypatch):
    from spatialfm.train import pack

    real = pack._disk.write_bytes

    def stops(path, content):
        if path.name == "pack.json":
            raise KeyboardInterrupt
        real(path, content)

    monkeypatch.setattr(pack._disk, "write_bytes", stops)
    with pytest.raises(KeyboardInterrupt):
        Windows(sdata, ById(), **SMALL, cache=tmp_path / "pack")
    monkeypatch.setattr(pack._disk, "write_bytes", real)
    n, windows = reads(tmp_path / "pack", monkeypatch, sdata)
    assert n == []
    assert torch.equal(windows[17].pixels, Windows(sdata, ById(), **SMALL)[17].pixels)


def test_a_whole_pack_is_opened_and_not_written_again(sdata, tmp_path, monkeypatch):
    Windows(sdata, ById(), **SMALL, cache=tmp_path / "pack")
    n, windows = reads(tmp_path / "pack", monkeypatch, sdata, crop=24)
    assert n == []
    assert windows.sample(3, random_of(0, 0, 0, 1)).pixels.shape == (3, 24, 24)


def damage(place, change):
    def apply(folder):
        content = bytearray((folder / place).read_bytes())
        change(content)
        (folder / place).write_bytes(content)

    return apply


def flip(at):
    def change(content):
        content[at] ^= 1

    return change


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (damage("pixels.bin", flip(3 * 5 * 2048 + 77)), "window 3 of pixels.bin is not as it was written"),
        (damage("pixels.bin", lambda content: content.pop()), r"pixels.bin has 165,887 bytes, not 165,888"),
        (damage("index.npz", flip(400)), "index.npz is not as it was written"),
        (damage("pack.json", lambda content: content.clear()), "pack.json cannot be read"),
        (lambda folder: (folder / "pixels.bin").unlink(), "pixels.bin"),
    ],
)
def test_a_damaged_pack_is_named_and_never_used(sdata, tmp_path, harm, message):
    folder = tmp_path / "pack"
    Windows(sdata, ById(), **SMALL, cache=folder)
    harm(folder)
    with pytest.raises(RunError, match=rf"The packed windows in '.*pack' are damaged: .*{message}"):
        Windows(sdata, ById(), **SMALL, cache=folder)[3]


def test_a_pack_of_other_windows_is_refused(sdata, make_sdata, tmp_path):
    folder = tmp_path / "pack"
    Windows(sdata, ById(), **SMALL, cache=folder)
    with pytest.raises(RunError, match="what differs is windows"):
        Windows(sdata, ById(), **SMALL, stride=16, cache=folder)
    with pytest.raises(RunError, match="what differs is kind"):
        Windows(sdata, ById(), **SMALL, cache=folder, cache_type="float16")
    other = make_sdata({"a": (pictures(9), None), "b": (pictures(1)[:4], None)}, {"a": PANEL, "b": PANEL[:4]})
    with pytest.raises(RunError, match="what differs is images"):
        Windows(other, ById(), **SMALL, cache=folder)


def test_what_does_not_fit_is_refused():
    with pytest.raises(RunError, match="Pixels of up to 70000 do not fit into float16"):
        encoded(np.full((1, 2, 2), 7e4, np.float32), "float16", None)


def test_flat_and_negative_channels_come_back():
    pixels = np.stack([np.full((4, 4), 3.25), np.linspace(-2, 5, 16).reshape(4, 4)]).astype(np.float32)
    found = decoded(*encoded(pixels, "uint16", None))
    assert (found[0] == 3.25).all()
    np.testing.assert_allclose(found[1], pixels[1], atol=7 / 65535 / 2 * 1.05)


def test_a_disk_that_is_full_is_said_and_what_is_packed_is_kept(tmp_path):
    def read(index):
        if index == 2:
            raise OSError(28, "No space left on device")
        return np.full((1, 8, 8), index, np.float32)

    pack = Pack(tmp_path / "pack", [1, 1, 1], 8, {"images": "x"}, "uint16")
    with pytest.raises(RunError, match="cannot be written to .*No space left on device.*What is packed is kept"):
        pack.write(read, lambda index: 1.0)
    pack.write(lambda index: np.full((1, 8, 8), index, np.float32), lambda index: 1.0)
    assert [pack.pixels(n, np.array([0]), 0, 0, 8).mean() for n in range(3)] == [0, 1, 2]


def test_two_processes_that_pack_at_once_give_one_pack(tmp_path):
    code = """
import sys, time, numpy as np
from spatialfm.train.pack import Pack
def read(index):
    time.sleep(0.02)
    open(sys.argv[2], "a").write("x")
    return np.full((1, 8, 8), index, np.float32)
pack = Pack(sys.argv[1], [1] * 20, 8, {"images": "x"}, "uint16")
pack.write(read, lambda index: 1.0)
assert [pack.pixels(n, np.array([0]), 0, 0, 8).mean() for n in range(20)] == list(range(20))
"""
    count = tmp_path / "count"
    runs = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "pack"), str(count)]) for _ in range(2)]
    assert [run.wait() for run in runs] == [0, 0]
    assert len(Path(count).read_text()) == 20
