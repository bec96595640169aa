"""What can be wrong with a template or its build."""


class TemplateError(ValueError):
    """A template.yaml breaks a rule; the text names file, field, value and rule."""


class BuildError(RuntimeError):
    """An image could not be built; nothing half made is left. The text ends with the tool's last lines."""
