"""From what happens to who is told: the inbox, real mail over TLS, real signed webhooks, retries."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone
from millwright.accounts.models import Membership, User
from millwright.audit.actions import record
from millwright.environments import actions as environments
from millwright.environments.history import transition
from millwright.environments.models import Environment
from millwright.notifications import actions, delivering, mail, webhooks
from millwright.notifications.gather import gather
from millwright.notifications.models import Delivery, Notice, Notification, Webhook
from millwright.orchestrator.rounds import leases
from millwright.pki.authority import Authority
from millwright.settings import get_settings

from tests.support.plant import Plant

pytestmark = pytest.mark.django_db


def _tls(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's certificate for localhost, and the authority that vouches for it."""
    authority = Authority(folder / "authority")
    authority.ensure()
    pair = authority.issue("localhost", hosts=("localhost", "127.0.0.1"), server=True)
    for name, data in (("crt", pair.certificate), ("key", pair.key), ("ca", authority.certificate)):
        (folder / name).write_bytes(data)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "crt", folder / "key")
    return context, folder / "ca"


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set settings for whoever delivers."""

    def set_them(**changes: Any) -> None:
        changed = get_settings().model_copy(update=changes)
        for module in (mail, webhooks, delivering):
            monkeypatch.setattr(module, "get_settings", lambda: changed)

    return set_them


class Letters:
    """An SMTP server's hands: keeps what comes, refuses whom it is told to refuse."""

    def __init__(self) -> None:
        self.kept: list[Any] = []
        self.refused: set[str] = set()
        self.encrypted: list[bool] = []

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _o: Any) -> str:  # fmt: skip
        if address in self.refused:
            return "550 no such person"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.encrypted.append(session.ssl is not None)
        self.kept.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 taken"


def _free_port() -> int:
    """The library wants to be told."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def letters(tmp_path: Path, configure: Any) -> Iterator[Letters]:
    """A mail server that demands STARTTLS and a password, and settings that lead to it."""
    handler = Letters()
    context, root = _tls(tmp_path)
    password = get_settings().secret("smtp.password").encode()

    def check(
        _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any
    ) -> AuthResult:
        return AuthResult(success=data.login == b"millwright" and data.password == password)

    server = Controller(
        handler, hostname="127.0.0.1", port=_free_port(), tls_context=context, require_starttls=True,
        authenticator=check, auth_required=True,
    )  # fmt: skip
    server.start()
    try:
        configure(
            smtp_host="localhost",
            smtp_port=server.port,
            smtp_security="starttls",
            smtp_user="millwright",
            mail_from="millwright@plant.example",
            ca_file=str(root),
        )
        yield handler
    finally:
        server.stop()


class _Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.server.got.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))  # type: ignore[attr-defined]  # fmt: skip
        status = self.server.answers.pop(0) if self.server.answers else 204  # type: ignore[attr-defined]
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: Any) -> None:
        """Quiet."""


@pytest.fixture
def hook(tmp_path: Path, configure: Any) -> Iterator[Any]:
    """A program that is told over TLS, and settings that allow its network."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Hook)
    context, root = _tls(tmp_path)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.got, server.answers = [], []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    configure(webhook_networks="127.0.0.0/8", ca_file=str(root))
    server.url = f"https://127.0.0.1:{server.server_address[1]}/told?by=millwright"
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def _kinds(user: User) -> list[str]:
    return [row.notice.kind for row in Notification.objects.filter(user=user).order_by("pk")]


def _asked(plant: Plant) -> Any:
    made = environments.create_request(plant.engineer, **plant.request_fields())
    return environments.submit_request(plant.engineer, made)


def _round() -> None:
    gather(timezone.now())


def test_a_request_is_told_to_those_who_decide_and_its_end_to_who_asked(plant: Plant) -> None:
    _round()
    Membership.objects.create(project=plant.project, user=plant.engineer, role="approver")
    request = _asked(plant)
    _round()
    _round()
    assert _kinds(plant.approver) == ["request.submitted"] == _kinds(plant.administrator)
    # Nobody decides his own, so nobody is asked to.
    assert _kinds(plant.engineer) == [] == _kinds(plant.stranger) == _kinds(plant.operator)
    assert "filling-line-1" in Notice.objects.get().text
    environments.approve_request(plant.approver, request)
    environment = Environment.objects.get()
    transition(environment, "environment", "provisioning")
    transition(environment, "environment", "running")
    transition(environment, "environment", "degraded", cause="a machine stopped")
    _round()
    assert _kinds(plant.engineer) == [
        "request.approved",
        "environment.ready",
        "environment.degraded",
    ]


def test_what_happened_before_the_first_look_is_not_news(plant: Plant) -> None:
    _asked(plant)
    _round()
    assert not Notice.objects.exists()


def test_a_lease_that_ends_is_told_once_and_again_after_an_extension(plant: Plant) -> None:
    environments.approve_request(plant.approver, _asked(plant))
    now = timezone.now()
    for days in (2, 32):
        then = now + dt.timedelta(days=days - 2)
        Environment.objects.update(
            lease_until=now + dt.timedelta(days=days), lease_ending=False, state="running"
        )
        leases(then)
        gather(then)
        gather(then)
    assert _kinds(plant.engineer).count("lease.ending") == 2


def test_a_lost_host_and_the_emergency_account_reach_those_who_keep_the_pool(plant: Plant) -> None:
    _round()
    transition(plant.hosts[0], "host_health", "suspect", field="health", cause="no answer")
    transition(plant.hosts[0], "host_health", "down", field="health", cause="no answer")
    record(plant.stranger, "user.break_glass", plant.stranger)
    _round()
    assert sorted(_kinds(plant.operator)) == ["account.emergency", "host.lost"]
    assert _kinds(plant.engineer) == []


def test_mail_goes_encrypted_one_letter_for_all_that_is_new(plant: Plant, letters: Letters) -> None:
    _round()
    User.objects.filter(pk=plant.operator.pk).update(email="oda@plant.example")
    for host in plant.hosts:
        transition(host, "host_health", "suspect", field="health", cause="no answer")
        transition(host, "host_health", "down", field="health", cause="it\nburns")
    now = timezone.now()
    _round()
    assert delivering.deliver(now + dt.timedelta(seconds=60)) == 2
    (letter,) = letters.kept
    assert letters.encrypted == [True]
    assert letter["To"].addresses[0].addr_spec == "oda@plant.example"
    assert letter["From"] == "millwright@plant.example"
    body = letter.get_content()
    assert "mw0-h1" in body and "mw0-h2" in body and "/pool/mw0-h1/" in body
    assert set(Delivery.objects.values_list("state", "attempts")) == {("sent", 1)}
    assert delivering.deliver(now + dt.timedelta(days=1)) == 0


def test_choices_decide_and_a_refused_address_is_given_up(plant: Plant, letters: Letters) -> None:
    _round()
    User.objects.filter(pk=plant.approver.pk).update(email="max@plant.example")
    User.objects.filter(pk=plant.administrator.pk).update(email="ada@plant.example")
    actions.choose(plant.approver, {"request.submitted": (False, True)})
    actions.choose(plant.administrator, {"request.submitted": (True, False)})
    letters.refused.add("max@plant.example")
    _asked(plant)
    _round()
    assert _kinds(plant.approver) == []
    assert _kinds(plant.administrator) == ["request.submitted"]
    delivering.deliver(timezone.now())
    row = Delivery.objects.get()
    assert (row.user, row.state) == (plant.approver, "failed")
    assert "550" in row.answer


def test_a_server_that_nobody_vouches_for_gets_no_letter(
    plant: Plant, letters: Letters, configure: Any
) -> None:
    port = mail.get_settings().smtp_port
    configure(smtp_host="localhost", smtp_port=port, smtp_security="starttls", smtp_user="", ca_file="")  # fmt: skip
    _round()
    User.objects.filter(pk=plant.administrator.pk).update(email="ada@plant.example")
    _asked(plant)
    _round()
    delivering.deliver(timezone.now())
    row = Delivery.objects.get()
    assert row.state == "waiting" and row.attempts == 1 and "certificate" in row.answer.lower()
    assert not letters.kept


def test_a_webhook_is_signed_and_tried_again_until_it_is_taken(plant: Plant, hook: Any) -> None:
    _round()
    made, secret = actions.add_webhook(
        plant.administrator, name="chat", url=hook.url, kinds=["request.submitted"]
    )
    _asked(plant)
    _round()
    # A failure, and a redirect, which is not followed.
    hook.answers[:] = [500, 302]
    now = timezone.now()
    for minutes, state in ((0, "waiting"), (1, "waiting"), (3, "sent")):
        then = now + dt.timedelta(minutes=minutes, seconds=1)
        assert delivering.deliver(then) == 1
        row = Delivery.objects.get()
        assert row.state == state, row.answer
        assert delivering.deliver(then) == 0
    assert row.attempts == 3
    assert len(hook.got) == 3
    headers, body = hook.got[-1]
    mac = hmac.new(
        secret.encode(), headers["X-Millwright-Timestamp"].encode() + b"." + body, hashlib.sha256
    )
    assert headers["X-Millwright-Signature"] == f"v1={mac.hexdigest()}"
    told = json.loads(body)
    assert told["kind"] == "request.submitted" and told["project"] == "line-1"
    assert told["id"] == headers["X-Millwright-Delivery"] == str(row.pk)
    assert secret not in json.dumps(list(Webhook.objects.values()), default=str)
    assert actions.rotate_webhook(plant.administrator, made) != secret


def test_after_its_last_try_it_is_given_up_and_a_person_can_try_again(
    plant: Plant, hook: Any
) -> None:
    made, _secret = actions.add_webhook(plant.administrator, name="chat", url=hook.url)
    actions.test_webhook(plant.administrator, made)
    now = timezone.now()
    tries = len(delivering.WAITS_MIN) + 1
    hook.answers[:] = [503] * tries
    for number in range(tries):
        assert delivering.deliver(now + dt.timedelta(days=number + 1)) == 1
    row = Delivery.objects.get()
    assert (row.state, row.attempts) == ("failed", tries)
    actions.retry(plant.administrator, row)
    delivering.deliver(timezone.now() + dt.timedelta(seconds=1))
    assert Delivery.objects.get().state == "sent"


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://localhost/",
        "https://10.0.0.7/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://0.0.0.0/",
        "https://192.168.1.1/",
        "http://1.1.1.1/",
        "ftp://1.1.1.1/",
        "https://user:pass@1.1.1.1/",
        "https://1.1.1.1/a b",
    ],
)
def test_addresses_inside_are_refused_unless_they_are_listed(
    plant: Plant, configure: Any, url: str
) -> None:
    configure(webhook_networks="10.20.0.0/24")
    with pytest.raises(ValidationError) as refused:
        actions.add_webhook(plant.administrator, name="x", url=url)
    assert "url" in refused.value.message_dict


def test_the_rule_holds_at_the_time_of_sending_too(plant: Plant, hook: Any, configure: Any) -> None:
    made, _secret = actions.add_webhook(plant.administrator, name="chat", url=hook.url)
    actions.test_webhook(plant.administrator, made)
    configure(webhook_networks="")
    delivering.deliver(timezone.now())
    assert Delivery.objects.get().answer.startswith("refused")
    assert not hook.got


def test_the_inbox_counts_opens_and_needs_the_same_queries_for_many(
    plant: Plant, django_assert_max_num_queries: Any
) -> None:
    now = timezone.now()
    notices = Notice.objects.bulk_create(
        Notice(
            source=f"t:{n}",
            kind="host.lost",
            at=now,
            subject_type="host",
            subject_id="1",
            facts={"name": f"h{n}"},
            link="/pool/mw0-h1/",
        )
        for n in range(60)
    )
    Notification.objects.bulk_create(
        Notification(notice=row, user=plant.operator, at=now) for row in notices
    )
    browser = Client()
    browser.force_login(plant.operator, backend="django.contrib.auth.backends.ModelBackend")
    with django_assert_max_num_queries(8):
        page = browser.get("/notifications/").content.decode()
    assert "60 unread" in page and "h59" in page
    row = Notification.objects.filter(user=plant.operator).first()
    assert row is not None
    answer = browser.post(f"/notifications/{row.pk}/open/")
    assert answer["Location"] == "/pool/mw0-h1/"
    assert "59 unread" in browser.get("/notifications/unread/").content.decode()
    browser.post("/notifications/read-all/")
    assert "unread</span>" not in browser.get("/notifications/unread/").content.decode()
