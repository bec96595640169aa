"""Who reads by a token is remembered for a moment, and never longer than he may."""

from __future__ import annotations

import hashlib

import pytest
from django.db import transaction
from django.utils import timezone
from millwright.accounts.actions import issue_token, revoke_token
from millwright.accounts.models import ApiToken, Membership
from millwright.api.authentication import TokenAuthentication, readers
from rest_framework.test import APIClient

from tests.support.plant import Plant

pytestmark = pytest.mark.django_db(transaction=True)


def _client(secret: str) -> APIClient:
    made = APIClient()
    made.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return made


def test_who_was_looked_up_before_a_change_is_not_remembered_after_it(plant: Plant) -> None:
    token, secret = issue_token(plant.engineer, plant.engineer, "program")
    digest = hashlib.sha256(secret.encode()).hexdigest()
    changes = readers.changes
    found = TokenAuthentication._look_up(digest)
    revoke_token(plant.engineer, token)
    readers.keep(digest, found, changes)
    assert readers.get(digest) is None
    # Looked up while the change was under way, which others do not see yet.
    with transaction.atomic():
        Membership.objects.filter(user=plant.engineer).first().save()
        readers.keep(digest, found, readers.changes)
    assert readers.get(digest) is None


def test_that_a_token_is_used_empties_nothing(plant: Plant) -> None:
    token, secret = issue_token(plant.engineer, plant.engineer, "program")
    assert _client(secret).get("/api/v1/environments/").status_code == 200
    ApiToken.objects.filter(pk=token.pk).update(last_used_at=timezone.now())
    assert readers.get(hashlib.sha256(secret.encode()).hexdigest()) is not None
