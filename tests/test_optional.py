"""Packages that are not there, and versions that do not go together."""

from __future__ import annotations

import pytest

from spatialfm import _optional
from spatialfm._errors import ModelError, SpatialfmError


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [("ot", "POT", "transport"), ("instanseg", "instanseg-torch", "instanseg"), ("optuna", "optuna", "tuning")],
)
def test_the_package_is_named_as_pip_knows_it(module, package, extra, monkeypatch):
    monkeypatch.setattr(_optional, "find_spec", lambda _: None)
    message = rf"^method='x' needs the package {package}: pip install 'spatialfm\[{extra}\]'\. Or do without\.$"
    with pytest.raises(SpatialfmError, match=message):
        _optional.need(module, "method='x'", "Or do without.")
    with pytest.raises(ModelError, match=rf"\[{extra}\]'\.$"):
        _optional.need(module, "method='x'", error=ModelError)


def test_a_package_that_is_there_is_not_imported(monkeypatch):
    monkeypatch.setattr(_optional, "find_spec", lambda _: object())
    _optional.need("ot", "this")


@pytest.mark.parametrize(
    ("scanpy", "pynndescent", "n", "refused"),
    [
        ("1.11.4", "0.7.0", 8192, True),
        ("1.11.4", "0.10.1", 8192, True),  # as numbers, not as text
        ("1.9.8", "0.7rc1", 10**6, True),
        ("1.11.4", "0.7.0", 8191, False),
        ("1.12.0", "0.7.0", 8192, False),
        ("1.11.4", "0.6.9", 8192, False),
    ],
)
def test_graphs_that_scanpy_cannot_read(scanpy, pynndescent, n, refused, monkeypatch):
    monkeypatch.setattr(_optional, "version", {"scanpy": scanpy, "pynndescent": pynndescent}.__getitem__)
    if refused:
        with pytest.raises(SpatialfmError, match=rf"pynndescent {pynndescent} finds in 8,192 cells or more \(here "):
            _optional.check_neighbours(n)
    else:
        _optional.check_neighbours(n)
