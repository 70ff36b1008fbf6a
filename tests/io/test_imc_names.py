"""Names of channels of an imaging mass cytometer."""

from __future__ import annotations

from spatialfm.io._imc_names import imc_names


def test_labels_that_occur_twice_get_their_metal_and_empty_ones_are_the_metal():
    labels, metals = ["DNA", "dna ", "", "CD3"], ["Ir191", "Ir193", "Xe131", "Er170"]
    assert imc_names(labels, metals, "label") == ("DNA_Ir191", "dna_Ir193", "Xe131", "CD3")
    assert imc_names(labels, metals, "metal") == tuple(metals)


def test_a_label_that_is_the_metal_of_an_unnamed_channel_is_told_from_it():
    assert imc_names(["Er170", ""], ["Dy162", "Er170"], "label") == ("Er170_Dy162", "Er170_Er170")
