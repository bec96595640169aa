"""What can be wrong with the settings."""


class SettingsError(ValueError):
    """A setting is missing or wrong; the text names the variable, its value and the rule."""
