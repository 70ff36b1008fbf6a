"""Names on the hub: what they mean, and what must not become a path."""

from __future__ import annotations

import pytest

from spatialfm._errors import WeightsError
from spatialfm.models.hub_id import is_within, parse_hub_id


@pytest.mark.parametrize(
    ("text", "repo", "revision", "file"),
    [
        ("org/repo", "org/repo", None, None),
        ("hf://org/repo@v1.0/a/b.pt", "org/repo", "v1.0", "a/b.pt"),
        ("hf://org/repo/b.pt", "org/repo", None, "b.pt"),
    ],
)
def test_parts(text, repo, revision, file):
    found = parse_hub_id(text)
    assert (found.repo, found.revision, found.file) == (repo, revision, file)
    assert found.folder.name == "org--repo" + (f"@{revision}" if revision else "")


@pytest.mark.parametrize(
    "text",
    ["repo", "hf://org/repo/../x", "hf://org/repo@../x", "hf://org/repo@a..b", "hf://org/repo/a//b", "hf://org/repo/a\\b",
     "hf://org/repo/C:x", "hf://-org/repo", "hf://org/repo/%2e%2e/x", "hf://org/repo@/x", "hf://org/repo/a\nb"],
)  # fmt: skip
def test_what_would_leave_the_folder_is_refused(text):
    with pytest.raises(WeightsError, match="names nothing on the hub"):
        parse_hub_id(text)


def test_links_are_followed(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").touch()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "out")
    (tmp_path / "in" / "file").touch()
    assert is_within(tmp_path / "in" / "file", tmp_path / "in")
    assert not is_within(tmp_path / "in" / "link", tmp_path / "in")
