"""What asyncio's tasks of ours share."""

from __future__ import annotations

import asyncio


def ending() -> bool:
    """Whether the task that asks has been cancelled.

    A loop that speaks to others asks it after each answer: until Python 3.12 `asyncio.wait_for`, in which clients of
    Modbus and OPC UA wait, forgets a cancellation that comes together with the answer, and the loop would go on for
    ever, writing to devices that it does not lead any more.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
