"""OPC UA: people who sign in with a certificate, and `vplc trust` as a person uses it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from click.testing import CliRunner

from industrial.cli import main
from industrial.runtime.local import LocalController
from tests.integration.industrial.test_opcua import PASSWORD, Site, _eventually, _refused, _with


def test_a_certificate_signs_in_who_has_its_key(tmp_path: Path) -> None:
    async def test(site: Site, controller: LocalController) -> None:
        async with site.client(user_certificate="olga") as client:
            node = client.get_node("ns=2;s=Main.gain")
            await node.write_value(ua.DataValue(ua.Variant(2.5, ua.VariantType.Float)))
        # One that nobody named, and the right one without its key.
        await _refused(site.client(user_certificate="stranger"))
        certificate, _, fingerprint = site.applications["olga"]
        site.applications["thief"] = (certificate, site.applications["stranger"][1], fingerprint)
        await _refused(site.client(user_certificate="thief"))

    _with(tmp_path, test)


def test_trust_by_the_command(tmp_path: Path) -> None:
    async def test(site: Site, controller: LocalController) -> None:
        project = str(tmp_path / "project")
        stranger = site.applications["stranger"][2]

        def trust(verb: str, *words: str, code: int = 0) -> str:
            done = CliRunner().invoke(main, ["trust", verb, "--project", project, *words])
            assert done.exit_code == code, done.output
            return done.output

        async def rows() -> dict[str, str]:
            told: Any = json.loads(await asyncio.to_thread(trust, "list", "--format", "json"))
            return {row["fingerprint"]: row["state"] for row in told["certificates"]}

        await _refused(site.client("stranger", user="obs"))
        assert (await rows())[stranger] == "rejected"
        assert "at least 8 digits" in await asyncio.to_thread(lambda: trust("add", "12", code=1))
        await asyncio.to_thread(trust, "add", stranger[:12])
        assert (await rows())[stranger] == "trusted"
        async with site.client("stranger", user="obs"):
            pass
        await asyncio.to_thread(trust, "remove", stranger)
        await _refused(site.client("stranger", user="obs"))
        token = (await asyncio.to_thread(trust, "token")).strip()
        await _refused(site.client("stranger", user="trust", password=token))
        async with site.client("stranger", user="obs"):
            pass

    _with(tmp_path, test)


def test_a_password_s_hash_by_the_command() -> None:
    done = CliRunner().invoke(main, ["trust", "password", "--password", PASSWORD])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("scrypt")
    assert PASSWORD not in done.output
    short = CliRunner().invoke(main, ["trust", "password", "--password", "a"])
    assert short.exit_code == 1


@pytest.mark.parametrize("text", ["", "x" * 10_000])
def test_a_token_that_is_none_opens_nothing(tmp_path: Path, text: str) -> None:
    async def test(site: Site, controller: LocalController) -> None:
        await _refused(site.client("stranger", user="trust", password=text))
        await _refused(site.client("stranger", user="obs"))

    _with(tmp_path, test)


def test_nobody_takes_another_session_s_subscriptions(tmp_path: Path) -> None:
    told: list[int] = []

    class Watch:
        def datachange_notification(self, _node: object, value: int, _data: object) -> None:
            told.append(value)

    async def _is(attempt: Any) -> str:
        try:
            found = await attempt
        except ua.UaStatusCodeError as error:
            return type(error).__name__
        return str(found[0].StatusCode.name if hasattr(found[0], "StatusCode") else found[0].name)

    async def test(site: Site, controller: LocalController) -> None:
        async with site.client(user="eng") as engineer:
            subscription = await engineer.create_subscription(50, Watch())
            handle = await subscription.subscribe_data_change(engineer.get_node("ns=2;s=Main.turns"), queuesize=10)  # fmt: skip
            number = subscription.subscription_id
            async with site.client(plain=True) as other, site.client(user="obs") as observer:
                for client in (other, observer):
                    channel = client.uaclient
                    assert (
                        await _is(channel.delete_subscriptions([number]))
                        == "BadSubscriptionIdInvalid"
                    )
                    silence = ua.SetPublishingModeParameters(
                        PublishingEnabled=False, SubscriptionIds=[number]
                    )
                    assert (
                        await _is(channel.set_publishing_mode(silence))
                        == "BadSubscriptionIdInvalid"
                    )
                    items = ua.DeleteMonitoredItemsParameters(
                        SubscriptionId=number, MonitoredItemIds=[handle]
                    )
                    assert (
                        await _is(channel.delete_monitored_items(items))
                        == "BadSubscriptionIdInvalid"
                    )
                    take = ua.TransferSubscriptionsParameters(
                        SubscriptionIds=[number], SendInitialValues=True
                    )
                    assert await _is(channel.transfer_subscriptions(take)) == "BadUserAccessDenied"
                    assert (
                        await _is(channel.delete_subscriptions([number + 1000]))
                        == "BadSubscriptionIdInvalid"
                    )
            seen = len(told)

            async def more() -> bool:
                return len(told) > seen + 3

            await _eventually(more)
            # His own are his, and go along with him to another session.
            async with site.client(user="eng") as again:
                take = ua.TransferSubscriptionsParameters(
                    SubscriptionIds=[number], SendInitialValues=False
                )
                assert await _is(again.uaclient.transfer_subscriptions(take)) == "Good"
                assert await _is(again.uaclient.delete_subscriptions([number])) == "Good"

    _with(tmp_path, test, anonymous="a demonstration line without secrets")
