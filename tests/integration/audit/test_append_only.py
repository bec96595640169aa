"""What was recorded stays recorded: refused by the model and by the database itself."""

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from millwright.audit.actions import record
from millwright.audit.models import AppendOnlyError, AuditEntry
from millwright.environments.models import StateTransition
from millwright.inventory.models import Site

pytestmark = pytest.mark.django_db


def _entry() -> AuditEntry:
    return record(None, "site.create", Site.objects.create(name="plant"), reason="first start")


def test_the_model_refuses_change_and_removal() -> None:
    entry = _entry()
    entry.reason = "other"
    with pytest.raises(AppendOnlyError):
        entry.save()
    with pytest.raises(AppendOnlyError):
        entry.delete()


@pytest.mark.parametrize("verb", ["UPDATE", "DELETE"])
@pytest.mark.parametrize("table", ["audit_auditentry", "environments_statetransition"])
def test_the_database_refuses_too(verb: str, table: str) -> None:
    _entry()
    StateTransition.objects.create(
        at=timezone.now(),
        subject_type="host",
        subject_id="1",
        subject_name="h",
        before="up",
        after="down",
    )
    column = {"audit_auditentry": "reason", "environments_statetransition": "cause"}[table]
    statement = f"UPDATE {table} SET {column} = 'x'" if verb == "UPDATE" else f"DELETE FROM {table}"  # noqa: S608
    with (
        pytest.raises(DatabaseError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
    assert AuditEntry.objects.count() == StateTransition.objects.count() == 1
