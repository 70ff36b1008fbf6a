"""Keywords that are arguments of `Windows`."""

from __future__ import annotations

from spatialfm._wording import called, worded
from spatialfm.train.call import TRAIN_FIELDS, window_arguments


def test_arguments_of_windows_are_fields_but_for_images_model_and_own_ones():
    names = window_arguments()
    assert "patient_key" in names
    assert not {"self", "sources", "model"} & set(names)
    fields = TRAIN_FIELDS.of(["patient_key"])
    assert fields[names[0]] == ("windows", names[0]) or names[0] == "patient_key"
    assert "patient_key" not in fields


def test_fields_of_what_windows_take_are_fields_of_fields():
    with called(["windows"], TRAIN_FIELDS.of(["windows"])):
        assert worded("Pass on_nan='zero'.") == """Pass windows={"recipe": {"on_nan": 'zero'}}."""
        assert worded("Pass mpp=0.5.") == 'Pass windows={"elements": {"mpp": 0.5}}.'
        assert worded("Pass size=64.") == 'Pass windows={"size": 64}.'


def test_a_keyword_near_one_of_windows_is_told_and_others_are_not():
    name = next(one for one in window_arguments() if one != "patient_key" and len(one) > 5)
    assert TRAIN_FIELDS.hint(name, 3, {}, []) == f"It is an argument of Windows: windows={{{name!r}: 3}}."
    assert f"{name!r}: 3" in TRAIN_FIELDS.hint(name[:-1], 3, {}, [])
    assert TRAIN_FIELDS.hint("steps", 3, {}, ["steps"]) is None
    assert TRAIN_FIELDS.hint("qqqqqq", 3, {}, []) is None
