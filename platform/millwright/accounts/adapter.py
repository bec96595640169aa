"""Who may get an account: nobody by himself; whoever the plant's identity provider vouches for."""

from __future__ import annotations

import re
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest
from django.shortcuts import redirect
from django.utils.translation import gettext as _

from millwright.audit.actions import record
from millwright.settings import get_settings

from .models import DirectoryAccount, User
from .querysets import rights_changed


class ClosedAdapter(DefaultAccountAdapter):
    """Accounts are made by administrators: nobody signs up."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def clean_password(self, password: str, user: Any = None) -> str:
        """A person of the directory has the directory's password and no other."""
        if user is not None and DirectoryAccount.objects.filter(user_id=user.pk).exists():
            raise ValidationError(_("Your password is kept by the plant's directory."))
        cleaned: str = super().clean_password(password, user)
        return cleaned


class PlantIdentityAdapter(DefaultSocialAccountAdapter):
    """People of the plant's OpenID Connect provider: an account at the first entry, roles at each.

    An account that an administrator made is never taken over by an equal name at the provider.
    """

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        return True

    def is_auto_signup_allowed(self, request: HttpRequest, sociallogin: Any) -> bool:
        return True

    def populate_user(self, request: HttpRequest, sociallogin: Any, data: dict[str, Any]) -> User:
        user: User = super().populate_user(request, sociallogin, data)
        claims = _claims(sociallogin)
        wanted = str(claims.get("preferred_username") or claims.get("email") or claims["sub"])
        user.username = re.sub(r"[^a-z0-9._-]", "-", wanted.lower())[:40]
        return user

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        """Refuse a name that is somebody else's, or a closed account; renew the role of a known person."""
        if not sociallogin.is_existing:
            name = sociallogin.user.username
            if User.objects.filter(username=name).exists():
                _refuse(request, _("An account %(name)s exists already; an administrator must rename one of the two.") % {"name": name})  # fmt: skip
            return
        if not sociallogin.user.is_active:
            _refuse(request, _("This account is closed."))
        _renew_role(sociallogin.user, _claims(sociallogin))

    @transaction.atomic
    def save_user(self, request: HttpRequest, sociallogin: Any, form: Any = None) -> User:
        user: User = super().save_user(request, sociallogin, form)
        record(None, "user.create", user, by="openid_connect")
        _renew_role(user, _claims(sociallogin))
        return user


def _claims(sociallogin: Any) -> dict[str, Any]:
    """What the provider says: the answer of its userinfo endpoint over the id token."""
    data = sociallogin.account.extra_data
    return {**data, **data.get("id_token", {}), **data.get("userinfo", {})}


def _refuse(request: HttpRequest, text: str) -> None:
    messages.error(request, text)
    raise ImmediateHttpResponse(redirect("account_login"))


def _renew_role(user: User, claims: dict[str, Any]) -> None:
    """The role on the whole plant follows the person's groups, where the settings name any."""
    settings = get_settings()
    if not settings.oidc_role_of:
        return
    groups = claims.get(settings.oidc_roles_claim) or []
    held = {groups} if isinstance(groups, str) else set(map(str, groups))
    role = next((role for group, role in settings.oidc_role_of.items() if group in held), "")
    if role != user.plant_role:
        User.objects.filter(pk=user.pk).update(plant_role=role)
        rights_changed.send(User)
        record(None, "user.update", user, plant_role=[user.plant_role, role], by="openid_connect")
        user.plant_role = role
