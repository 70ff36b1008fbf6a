"""Pixels that no model takes, told once: what is refused, replaced and clipped, from counts that are planted."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from spatialfm._errors import RunError, SpatialfmWarning
from spatialfm._wording import called
from spatialfm.embed.pixels.odd_report import report_odd_pixels


def reader(name, not_finite, negative, lowest=(0.0, 0.0), on_nan="zero"):
    odd = SimpleNamespace(not_finite=np.array(not_finite), negative=np.array(negative), lowest=np.array(lowest))
    return SimpleNamespace(name=name, channel_names=("CD3", "CD8"), on_nan=on_nan, odd_pixels=odd)


def test_nothing_odd_says_nothing(recwarn):
    found = report_odd_pixels(["a"], [reader("image_a", (0, 0), (0, 0), on_nan="raise")])
    assert found == {"pixels_replaced": {}, "pixels_clipped": {}}
    assert not recwarn.list


def test_counts_of_each_channel_are_told_and_recorded():
    readers = [reader("image_a", (0, 3), (1, 0), (-4.5, 0)), reader("image_b", (0, 0), (0, 0))]
    with pytest.warns(SpatialfmWarning) as seen:
        found = report_odd_pixels(["a", "b"], readers)
    said = sorted(str(one.message) for one in seen)
    assert said[0].startswith("Pixels are NaN or infinite in 1 image: 'image_a' (channel 'CD8': 3 pixels): they count")
    assert said[1].startswith("Pixels are negative in 1 image: 'image_a' (channel 'CD3': 1 pixel, lowest -4.5): they")
    assert found == {"pixels_replaced": {"a": {"CD8": 3}}, "pixels_clipped": {"a": {"CD3": 1}}}


def test_an_image_that_refuses_them_stops_the_run():
    readers = [reader("image_a", (1, 0), (0, 0)), reader("image_b", (0, 2), (0, 0), on_nan="raise")]
    with pytest.raises(RunError, match=r"NaN or infinite in 1 image: 'image_b' \(channel 'CD8': 2 pixels\)\. Fix them"):
        report_odd_pixels(["a", "b"], readers)


def test_negative_pixels_alone_are_no_reason_to_refuse():
    with pytest.warns(SpatialfmWarning, match="negative"):
        report_odd_pixels(["a"], [reader("image_a", (0, 0), (2, 0), (-1, 0), on_nan="raise")])


def test_only_a_function_with_that_argument_is_advised_to_use_it():
    for arguments, fields, advice in [
        (["on_nan"], {}, ", or pass on_nan='zero' to count them as 0."),
        (["recipe"], {"on_nan": ("recipe", "on_nan")}, """, or pass recipe={"on_nan": 'zero'} to count them as 0."""),
        (["sdata"], {}, "."),
    ]:
        with called(arguments, fields), pytest.raises(RunError) as refused:
            report_odd_pixels(["a"], [reader("image_a", (1, 0), (0, 0), on_nan="raise")])
        assert str(refused.value).endswith(f"Fix them in the image{advice}")
