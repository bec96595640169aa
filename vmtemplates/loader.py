"""Reading templates from this package's folders."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import ValidationError

from .errors import TemplateError
from .schema import Template

HERE = Path(__file__).resolve().parent


def load_template(path: Path) -> Template:
    """Read one template.yaml.

    Raises:
        TemplateError: names file, field, value and rule; all that is wrong at once.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise TemplateError(f"{path}: {error}") from None
    if not isinstance(raw, dict):
        raise TemplateError(f"{path}: a mapping is expected at the top")
    try:
        return Template.model_validate(raw)
    except ValidationError as error:
        lines = []
        for item in error.errors():
            field = ".".join(str(part) for part in item["loc"]) or "template"
            value = "" if item["type"] == "missing" else f" = {item['input']!r:.80}"
            lines.append(f"{path}: {field}{value}: {item['msg']}")
        raise TemplateError("\n".join(lines)) from None


def load_templates(root: Path = HERE) -> dict[str, Template]:
    """All templates by name.

    Raises:
        TemplateError: one is wrong, or a folder and its template have different names.
    """
    found = {}
    for path in sorted(root.glob("*/template.yaml")):
        template = load_template(path)
        if template.name != path.parent.name:
            raise TemplateError(
                f"{path}: name = {template.name!r}: must be the folder's name, {path.parent.name!r}"
            )
        found[template.name] = template
    return found
