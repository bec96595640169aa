"""Templates of virtual machines: description, build recipe, tests. Never imports the control plane."""

from .build import build_image, find_built
from .errors import BuildError, TemplateError
from .image import BuiltImage
from .loader import load_template, load_templates
from .schema import Template

__all__ = [
    "BuildError",
    "BuiltImage",
    "Template",
    "TemplateError",
    "build_image",
    "find_built",
    "load_template",
    "load_templates",
]
