"""What the command says in place of a traceback."""


class CliError(Exception):
    """Root of the tree; the text says what is wrong and what to do."""


class ApiError(CliError):
    """The portal refused, with its own words."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class StepError(CliError):
    """A step of `millwright up` did not reach its end; a second run goes on from there."""


class SupervisionError(CliError):
    """The supervisor or one of its processes does not run; names the log."""
