"""What can go wrong at the gateway. `status` is the HTTP status that carries it."""


class GatewayError(Exception):
    """Root of the tree; the text is for people and names target and cause."""

    status = 500


class BadRequest(GatewayError):
    """The request cannot be read; names field, value and rule."""

    status = 400


class OutsideCells(GatewayError):
    """The address lies in no registered cell."""

    status = 403


class TooBusy(GatewayError):
    """More requests at once than the gateway carries."""

    status = 429


class TargetFailed(GatewayError):
    """The device or vPLC refused, or the connection broke."""

    status = 502


class TargetTimeout(GatewayError):
    """The device or vPLC did not answer in time."""

    status = 504
