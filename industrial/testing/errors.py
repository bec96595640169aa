"""What can be wrong with a suite."""

from __future__ import annotations


class SuiteError(ValueError):
    """A suite breaks a rule; the text names file, place, value and rule."""
