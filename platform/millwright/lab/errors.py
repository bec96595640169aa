"""What can go wrong with the lab."""


class LabError(RuntimeError):
    """The lab cannot do it; the text says what, and what to mend."""
