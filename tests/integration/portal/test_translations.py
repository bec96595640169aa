"""Every word of every language, with the same holes, and what is shipped is what was translated."""

from __future__ import annotations

import gettext
import re
from pathlib import Path

import millwright
import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from millwright.settings.settings import Settings

from tests.support.plant import Plant

LOCALE = Path(millwright.__file__).parent / "locale"
LANGUAGES = sorted(folder.name for folder in LOCALE.iterdir())
_HOLE = re.compile(r"%\(\w+\)[sdr]")


def _entries(language: str) -> list[str]:
    text = (LOCALE / language / "LC_MESSAGES/django.po").read_text(encoding="utf-8")
    return text.split("\n\n")[1:]


def _text(block: str, key: str) -> list[str]:
    found = re.findall(rf'^{key} ((?:"(?:[^"\\]|\\.)*"\s*)+)', block, re.M)
    return ["".join(re.findall(r'"((?:[^"\\]|\\.)*)"', each)) for each in found]


def test_every_offered_language_has_its_words() -> None:
    assert {code for code, _ in settings.LANGUAGES} - {"en"} == {
        name.lower().replace("_", "-") for name in LANGUAGES
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_word_is_missing_doubtful_or_has_other_holes(language: str) -> None:
    for block in _entries(language):
        (source, *_) = _text(block, "msgid")
        translated = _text(block, r"msgstr(?:\[\d\])?")
        assert "fuzzy" not in block, source
        assert all(translated), source
        for each in translated:
            assert sorted(_HOLE.findall(each)) == sorted(_HOLE.findall(source)), (source, each)


def test_the_languages_translate_the_same_words() -> None:
    first, *others = ({tuple(_text(b, "msgid")) for b in _entries(name)} for name in LANGUAGES)
    for other in others:
        assert first == other


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_compiled_words_are_those_of_the_source(language: str) -> None:
    with (LOCALE / language / "LC_MESSAGES/django.mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    for block in _entries(language):
        (source, *plural) = _text(block, "msgid")
        if "msgid_plural" in block or plural:
            continue
        unescaped = source.replace('\\"', '"').replace("\\\\", "\\").replace("\\n", "\n")
        wanted = _text(block, "msgstr")[0].replace('\\"', '"').replace("\\\\", "\\")
        assert compiled.gettext(unescaped) == wanted.replace("\\n", "\n")


def test_pages_speak_german(plant: Plant) -> None:
    caller = Client(headers={"accept-language": "de"})
    caller.force_login(plant.engineer, backend="django.contrib.auth.backends.ModelBackend")
    text = caller.get(reverse("portal:environments")).content.decode()
    assert '<html lang="de"' in text
    for word in ("Umgebungen", "Anträge", "Abmelden", "Eine Umgebung beantragen"):
        assert word in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_setting_is_described_in_every_language(language: str) -> None:
    known = {text for block in _entries(language) for text in _text(block, "msgid")}
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.replace('"', '\\"') in known, name


def test_settings_are_described_in_german(plant: Plant) -> None:
    caller = Client(headers={"accept-language": "de"})
    caller.force_login(plant.administrator, backend="django.contrib.auth.backends.ModelBackend")
    text = caller.get(reverse("portal:settings")).content.decode()
    assert "Port des Mailservers" in text
    assert "port of the mail server" not in text
