"""Sessions that see their own subscriptions alone.

asyncua finds a subscription by its number, whoever asks; numbers are counted up. So any session could end another's
alarms, silence them, or have them sent to itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.server.internal_session import InternalSession

_UNKNOWN = ua.StatusCodes.BadSubscriptionIdInvalid


class OwnSubscriptions(InternalSession):  # type: ignore[misc]  # asyncua is untyped
    """What is another session's is answered as what is not there."""

    #: The certificate of its application; None on a channel without security.
    application: bytes | None = None

    def _mine(self, number: int) -> bool:
        found = self.subscription_service.subscriptions.get(number)
        return found is None or not self.external or bool(found.session_id == self.session_id)

    def _want(self, number: int) -> None:
        if not self._mine(number):
            raise ServiceError(_UNKNOWN)

    def _owner(self) -> tuple[str, bytes] | None:
        """Who may take a subscription along to another session: a person, from the application of before."""
        name = getattr(self.user, "name", None)
        return (str(name), self.application) if name and self.application else None

    async def create_subscription(
        self, params: ua.CreateSubscriptionParameters, *words: Any, **named: Any
    ) -> ua.CreateSubscriptionResult:
        """As asyncua, and whose it is."""
        made = await super().create_subscription(params, *words, **named)
        found = self.subscription_service.subscriptions.get(made.SubscriptionId)
        if found is not None:
            found.plc_owner = self._owner()
        return made

    async def create_monitored_items(
        self, params: ua.CreateMonitoredItemsParameters
    ) -> list[ua.MonitoredItemCreateResult]:
        """A part of an array is refused: asyncua would watch and tell all of it."""
        self._want(params.SubscriptionId)
        whole = [item for item in params.ItemsToCreate if not item.ItemToMonitor.IndexRange]
        made = iter(await super().create_monitored_items(replace(params, ItemsToCreate=whole)))
        refused = ua.MonitoredItemCreateResult(
            StatusCode=ua.StatusCode(ua.StatusCodes.BadIndexRangeInvalid)
        )
        return [
            refused if item.ItemToMonitor.IndexRange else next(made)
            for item in params.ItemsToCreate
        ]

    async def modify_monitored_items(self, params: Any) -> list[ua.MonitoredItemModifyResult]:
        """As asyncua, of its own."""
        self._want(params.SubscriptionId)
        return list(await super().modify_monitored_items(params))

    async def delete_monitored_items(self, params: Any) -> list[ua.StatusCode]:
        """As asyncua, of its own."""
        self._want(params.SubscriptionId)
        return list(await super().delete_monitored_items(params))

    async def set_monitoring_mode(self, params: Any) -> list[ua.StatusCode]:
        """As asyncua, of its own."""
        self._want(params.SubscriptionId)
        return list(await super().set_monitoring_mode(params))

    def modify_subscription(self, params: Any) -> ua.ModifySubscriptionResult:
        """As asyncua, of its own."""
        self._want(params.SubscriptionId)
        return super().modify_subscription(params)

    def republish(self, params: Any) -> ua.NotificationMessage:
        """As asyncua, of its own."""
        self._want(params.SubscriptionId)
        return super().republish(params)

    async def delete_subscriptions(self, ids: list[int]) -> list[ua.StatusCode]:
        """As asyncua, of its own."""
        return await self._each(ids, super().delete_subscriptions)

    async def set_publishing_mode(self, params: Any) -> list[ua.StatusCode]:
        """As asyncua, of its own."""
        base = super().set_publishing_mode
        return await self._each(
            params.SubscriptionIds, lambda own: base(replace(params, SubscriptionIds=own))
        )

    async def _each(
        self, ids: list[int], obey: Callable[[list[int]], Awaitable[list[ua.StatusCode]]]
    ) -> list[ua.StatusCode]:
        # Who owns what is asked before anything is done: what is done may take it away.
        mine = [self._mine(number) for number in ids]
        own = [number for number, is_mine in zip(ids, mine, strict=True) if is_mine]
        done = iter(await obey(own))
        return [next(done) if is_mine else ua.StatusCode(_UNKNOWN) for is_mine in mine]

    def publish(self, acks: Any = None) -> tuple[int, list[ua.StatusCode]]:
        """Acknowledged is what was sent to this session."""
        given = list(acks or [])
        own = [ack for ack in given if self._mine(ack.SubscriptionId)]
        count, results = super().publish(own)
        done = iter(results)
        return count, [
            next(done) if self._mine(ack.SubscriptionId) else ua.StatusCode(_UNKNOWN)
            for ack in given
        ]

    async def transfer_subscriptions(self, params: Any, callback: Any) -> list[ua.TransferResult]:
        """To another session of the same user with the same application, as after a lost connection."""
        results: list[ua.TransferResult] = []
        for number in params.SubscriptionIds:
            found = self.subscription_service.subscriptions.get(int(number))
            owner = getattr(found, "plc_owner", None)
            if found is not None and (owner is None or owner != self._owner()):
                results.append(
                    ua.TransferResult(StatusCode=ua.StatusCode(ua.StatusCodes.BadUserAccessDenied))
                )
                continue
            one = replace(params, SubscriptionIds=[number])
            results += await super().transfer_subscriptions(one, callback)
        return results
