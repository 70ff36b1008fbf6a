"""``spatialfm models``."""

from __future__ import annotations

from spatialfm.cli import main


def test_models_prints_every_model_with_its_licence(capsys):
    import spatialfm as sfm

    assert main(["models"]) == 0
    printed = capsys.readouterr().out
    for name, row in sfm.models.list_models().iterrows():
        assert name in printed
        assert row["license"] in printed
