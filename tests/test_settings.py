from __future__ import annotations

import logging
import subprocess
import sys

import pytest

import spatialfm as sfm
from spatialfm._logging import logger
from spatialfm._settings import Settings, parse_bytes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("512 MiB", 512 * 2**20),
        ("2GB", 2 * 10**9),
        ("1.5 KiB", 1536),
        (" 3 kb ", 3000),
        ("1 GiB", 2**30),
        (1000, 1000),
        ("77", 77),
        (1e6, 10**6),
    ],
)
def test_parse_bytes(text, expected):
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["much", "12 parsecs", "", "-5 MB", "GB"])
def test_parse_bytes_refuses(text):
    with pytest.raises(ValueError, match="Write for example '512 MiB' or '2 GB'"):
        parse_bytes(text)


def test_environment_sets_the_first_values(monkeypatch, tmp_path):
    monkeypatch.setenv("SPATIALFM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("SPATIALFM_DEVICE", "cpu")
    monkeypatch.setenv("SPATIALFM_BATCH_MEMORY", "1 GiB")
    monkeypatch.setenv("SPATIALFM_RESULT_MEMORY", "4 GiB")
    monkeypatch.setenv("SPATIALFM_VERBOSITY", "0")
    monkeypatch.setenv("SPATIALFM_PROGRESS", "off")
    monkeypatch.setenv("SPATIALFM_OFFLINE", "1")
    settings = Settings()
    assert settings.cache_dir == tmp_path / "cache"
    assert settings.device == "cpu"
    assert settings.batch_memory == 2**30
    assert settings.result_memory == 2**32
    assert settings.verbosity == 0
    assert settings.progress is False
    assert settings.offline is True


@pytest.mark.parametrize("value", ["0", "false", "No", "OFF", ""])
def test_flags_that_mean_no(monkeypatch, value):
    monkeypatch.setenv("SPATIALFM_PROGRESS", value)
    assert Settings().progress is False


def test_defaults(monkeypatch):
    for name in ("CACHE_DIR", "DEVICE", "BATCH_MEMORY", "RESULT_MEMORY", "VERBOSITY", "PROGRESS", "OFFLINE"):
        monkeypatch.delenv(f"SPATIALFM_{name}", raising=False)
    settings = Settings()
    assert settings.device == "auto"
    assert settings.batch_memory == 512 * 2**20
    assert settings.result_memory == 2**30
    assert settings.verbosity == 2
    assert settings.progress is True
    assert settings.offline is False
    assert settings.cache_dir.name == "spatialfm"


def test_home_is_expanded():
    settings = Settings()
    settings.cache_dir = "~/somewhere"
    assert "~" not in str(settings.cache_dir)


def test_verbosity_is_the_level_of_the_logger(caplog):
    for verbosity, level in {0: logging.ERROR, 1: logging.WARNING, 2: logging.INFO, 3: logging.DEBUG}.items():
        sfm.settings.verbosity = verbosity
        assert logger.level == level
    sfm.settings.verbosity = 1
    logger.info("not said")
    logger.warning("said")
    assert [record.message for record in caplog.records] == ["said"]


def test_reset_and_repr(monkeypatch):
    monkeypatch.delenv("SPATIALFM_BATCH_MEMORY", raising=False)
    sfm.settings.batch_memory = "1 KiB"
    assert "batch_memory = 1024" in repr(sfm.settings)
    sfm.settings.reset()
    assert sfm.settings.batch_memory == 512 * 2**20


LOG = "from spatialfm._logging import logger; import spatialfm; logger.info('hello')"


@pytest.mark.parametrize(
    ("setup", "times"),
    [
        ("", 1),
        ("import logging; logging.basicConfig(level='INFO'); ", 1),
        ("import logging; logging.basicConfig(); ", 1),
    ],
)
def test_a_message_is_shown_once(setup, times):
    done = subprocess.run([sys.executable, "-c", setup + LOG], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr.count("hello") == times


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("cache_dir", value) for value in (None, 3, "", b"folder")),
        *(("device", value) for value in (None, 3, "", ["cpu"])),
        *(("verbosity", value) for value in (None, -1, 4, 1.5, "loud", True)),
        *((name, value) for name in ("progress", "offline") for value in (None, 3, [])),
        *((name, value) for name in ("batch_memory", "result_memory") for value in (None, "much", -5, [], True)),
    ],
)
def test_what_no_setting_can_be_is_refused_and_the_old_value_stays(name, value):
    before = getattr(sfm.settings, name)
    with pytest.raises(ValueError, match=rf"settings\.{name} must be|memory size"):
        setattr(sfm.settings, name, value)
    assert getattr(sfm.settings, name) == before


def test_a_setting_with_a_typo_is_refused():
    with pytest.raises(AttributeError, match="no setting 'cache_dri'. There are: cache_dir"):
        sfm.settings.cache_dri = "folder"
