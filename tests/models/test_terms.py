from __future__ import annotations

import pytest

import spatialfm as sfm
from spatialfm._errors import ModelError
from spatialfm.models.terms import check_terms, forbids_derivatives


def test_models_whose_terms_forbid_derived_ones():
    licenses = sfm.models.list_models()["license"]
    forbidden = sorted(licenses.index[[forbids_derivatives(one) for one in licenses]])
    assert forbidden == ["kronos", "kronos-large", "kronos2", "uni"]


def test_they_are_asked_about_and_others_are_not(caplog):
    with pytest.raises(
        ModelError, match=r"^Nothing was trained: the weights of kronos are under CC-BY-NC-ND-4.0, which"
    ):
        check_terms(sfm.models.card("kronos"), accepted=False)
    check_terms(sfm.models.card("kronos"), accepted=True)
    assert "you have accepted that" in caplog.text
    check_terms(sfm.models.card("virtues-sp32"), accepted=False)  # not commercial, and free to be changed
