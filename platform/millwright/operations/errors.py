"""How an operation can fail, on one page."""

from __future__ import annotations

from collections.abc import Mapping


class OperationError(Exception):
    """Base of this package's errors; the text is for people."""

    retryable = False


class StepFailed(OperationError):
    """A step cannot succeed: repeating it does not help. What was made is undone."""


class NotYet(OperationError):
    """A step waits for something; it is tried again until its time is up."""

    retryable = True


class Question(OperationError):
    """Only a person knows. The operation waits; it goes on when one answers, or when it need not ask.

    `answers` maps a code to what it means, for people.
    """

    def __init__(self, text: str, answers: Mapping[str, str]) -> None:
        super().__init__(text)
        self.answers = dict(answers)


class StepTimeout(OperationError):
    """A step was not done within its time; the text says what it waited for."""


class Cancelled(OperationError):
    """A person asked the operation to stop."""


class FenceRefused(Exception):
    """The fence agent is missing, refused, or does not confirm that the power is off."""
