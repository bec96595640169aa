"""Users, projects with their quota, memberships, API tokens, one-time links."""

from __future__ import annotations

import uuid

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils.translation import gettext_lazy as _

from .choices import Role
from .querysets import (
    ApiTokenQuerySet,
    ByProjectQuerySet,
    DelegationQuerySet,
    ProjectQuerySet,
)


class User(AbstractUser):
    """A person or a service account. The role here is plant-wide; most people have none."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    plant_role = models.CharField(_("plant-wide role"), max_length=16, choices=Role, blank=True)
    is_service = models.BooleanField(_("service account"), default=False)
    #: Entered by an administrator and shown once: whoever signs in with it chooses his own first.
    password_is_temporary = models.BooleanField(_("password is temporary"), default=False)
    #: For the day when nobody else can sign in: every entry alarms operators and administrators.
    is_break_glass = models.BooleanField(_("break-glass account"), default=False)
    #: The language of pages and letters; empty: the browser's on pages, the plant's in letters.
    language = models.CharField(_("language"), max_length=16, blank=True)

    def __str__(self) -> str:
        return self.get_full_name() or self.username


class DirectoryAccount(models.Model):
    """A person's entry in the plant's directory, and which memberships its groups gave."""

    user = models.OneToOneField(User, models.CASCADE, related_name="directory_account")
    identity = models.CharField(max_length=255, unique=True)
    #: [[project, role], …]; those that people gave are not among them.
    memberships = models.JSONField(default=list)

    def __str__(self) -> str:
        return f"directory entry of {self.user}"


class Project(models.Model):
    """A production line or department: its quota and its members."""

    slug = models.SlugField(_("name"), max_length=48, unique=True)
    name = models.CharField(_("title"), max_length=120)
    quota_vcpus = models.PositiveIntegerField(_("vCPUs"), default=16)
    quota_realtime_cores = models.PositiveIntegerField(_("realtime cores"), default=4)
    quota_memory_bytes = models.PositiveBigIntegerField(_("memory"), default=16 * 2**30)
    quota_disk_bytes = models.PositiveBigIntegerField(_("disk"), default=200 * 2**30)
    quota_environments = models.PositiveIntegerField(_("environments"), default=10)
    #: A request of at most this many vCPUs and without realtime cores needs no person. 0: always ask.
    auto_approve_vcpus = models.PositiveIntegerField(
        _("approved automatically up to vCPUs"), default=0
    )
    max_lease_days = models.PositiveIntegerField(_("longest lease in days"), default=365)
    #: Above this many vCPUs two different approvers must agree. 0: one is enough.
    second_approval_vcpus = models.PositiveIntegerField(
        _("two approvers needed above vCPUs"), default=0
    )
    #: After so many days without a decision policy decides. 0: it waits until it expires.
    decide_after_days = models.PositiveIntegerField(_("decided by policy after days"), default=0)
    decide_after = models.CharField(
        _("policy's decision"),
        max_length=8,
        default="reject",
        choices=(("approve", _("approve")), ("reject", _("reject"))),
    )
    members = models.ManyToManyField(User, through="Membership", related_name="projects")

    objects = ProjectQuerySet.as_manager()

    class Meta:
        ordering = ("slug",)

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    project = models.ForeignKey(Project, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    role = models.CharField(_("role"), max_length=16, choices=Role)

    objects = ByProjectQuerySet.as_manager()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("project", "user", "role"), name="membership_once"),
        )

    def __str__(self) -> str:
        return f"{self.user} · {self.role} · {self.project}"


class Delegation(models.Model):
    """For a time, one approver's decisions may be taken by another person, who says so by doing it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    giver = models.ForeignKey(User, models.CASCADE, related_name="delegations_given")
    taker = models.ForeignKey(User, models.CASCADE, related_name="delegations_taken")
    created_at = models.DateTimeField(auto_now_add=True)
    ends_at = models.DateTimeField(_("until"))
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = DelegationQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.giver} → {self.taker}"


class ApiToken(models.Model):
    """A token for programs. Only its SHA-256 is kept; scope "read" refuses changes."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=80)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scope = models.CharField(
        max_length=16,
        default="write",
        choices=(("read", _("read")), ("write", _("write")), ("discovery", _("service discovery"))),
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.name} ({self.user})"


class LoginLink(models.Model):
    """A sign-in link for loopback: single use, at most 15 minutes, kept as SHA-256."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="login_links")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"sign-in link of {self.user}"
