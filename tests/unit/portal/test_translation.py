"""The Chinese catalogue: complete, compiled from its source, with every placeholder in place."""

from __future__ import annotations

import ast
import gettext
import re
from pathlib import Path

import millwright

PACKAGE = Path(millwright.__file__).parent
FOLDER = PACKAGE / "locale" / "zh_Hans" / "LC_MESSAGES"
_TAG = re.compile(r"""{%\s*(?:translate|trans)\s+(["'])(.+?)\1""")
_PLACE = re.compile(r"%\(\w+\)[a-z]")


def _source() -> dict[str, str]:
    """The .po file's texts; it keeps each on one line."""
    entries, current = {}, ""
    for line in (FOLDER / "django.po").read_text(encoding="utf-8").splitlines():
        if line.startswith("msgid "):
            current = ast.literal_eval(line.removeprefix("msgid "))
        elif line.startswith("msgstr") and current:
            entries[current] = ast.literal_eval(line.split(" ", 1)[1])
    return entries


def _in_code() -> set[str]:
    """Texts marked for translation in modules and, by the plain tag, in templates."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in {"_", "gettext", "gettext_lazy"}
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                found.add(str(node.args[0].value))
    for path in PACKAGE.rglob("templates/**/*.html"):
        found |= {
            text.replace("\\'", "'") for _, text in _TAG.findall(path.read_text(encoding="utf-8"))
        }
    return found


def test_the_compiled_catalogue_is_the_source() -> None:
    with (FOLDER / "django.mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    source = _source()
    assert len(source) > 400
    for english, chinese in source.items():
        plural = compiled.ngettext(english, english, 2)
        assert chinese in {compiled.gettext(english), plural}, english


def test_every_text_is_translated_and_keeps_its_placeholders() -> None:
    for english, chinese in _source().items():
        assert chinese, english
        assert sorted(_PLACE.findall(english)) == sorted(_PLACE.findall(chinese)), english


def test_the_catalogue_knows_what_the_code_says() -> None:
    """A page half in English is worse than a page in English: allow a few new texts, not more."""
    said = _in_code()
    missing = sorted(said - set(_source()))
    assert len(said) > 300
    assert len(missing) <= len(said) * 0.05, missing
