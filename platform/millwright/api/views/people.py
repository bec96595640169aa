"""Accounts, members of projects, decisions in another's place: what the administration pages do."""

from __future__ import annotations

from typing import Any

from django.db.models import Q
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, permissions, serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from millwright.accounts import people as actions
from millwright.accounts.choices import Role
from millwright.accounts.models import Delegation, Membership, Project, User
from millwright.accounts.permissions import may
from millwright.api.bases import ProjectRows, Readable


class AdministratorPermission(permissions.BasePermission):
    """The plant's administrators."""

    def has_permission(self, request: HttpRequest, view: Any) -> bool:
        return may(request.user, "administer")


class PersonSerializer(serializers.ModelSerializer):
    # Both may be empty, which an address and a choice are not by the document's words.
    email = serializers.CharField(read_only=True)
    plant_role = serializers.CharField(read_only=True)

    class Meta:
        model = User
        fields = (
            "id",
            "username",
            "first_name",
            "last_name",
            "email",
            "plant_role",
            "is_active",
            "is_service",
            "is_break_glass",
            "last_login",
        )
        read_only_fields = fields


class PersonInput(serializers.Serializer):
    username = serializers.CharField(max_length=40)
    full_name = serializers.CharField(max_length=200, required=False, allow_blank=True, default="")
    email = serializers.EmailField(required=False, allow_blank=True, default="")
    plant_role = serializers.ChoiceField(Role.choices, required=False, allow_blank=True, default="")
    is_service = serializers.BooleanField(required=False, default=False)


class PersonChange(serializers.Serializer):
    first_name = serializers.CharField(max_length=150, required=False, allow_blank=True)
    last_name = serializers.CharField(max_length=150, required=False, allow_blank=True)
    email = serializers.EmailField(required=False, allow_blank=True)
    plant_role = serializers.ChoiceField(Role.choices, required=False, allow_blank=True)
    is_active = serializers.BooleanField(required=False)
    is_break_glass = serializers.BooleanField(required=False)


def _clean(kind: type[serializers.Serializer], request: HttpRequest) -> dict[str, Any]:
    data = kind(data=request.data)
    data.is_valid(raise_exception=True)
    return dict(data.validated_data)


class PersonViewSet(Readable):
    """Accounts. One made here has no password: people come by the identity provider, or an
    administrator gives a temporary password on the page; programs get tokens."""

    queryset = User.objects.all()
    serializer_class = PersonSerializer
    permission_classes = (permissions.IsAuthenticated, AdministratorPermission)
    filterset_fields = ("username", "plant_role", "is_active", "is_service")
    cursor_ordering = ("username", "pk")
    ordering_fields = ("username",)

    @extend_schema(request=PersonInput, responses={201: PersonSerializer})
    def create(self, request: HttpRequest) -> Response:
        """Make an account."""
        fields = _clean(PersonInput, request)
        made, _none = actions.create_person(request.user, with_password=False, **fields)
        return Response(PersonSerializer(made).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=PersonChange, responses={200: PersonSerializer})
    @action(detail=True, methods=["post"])
    def change(self, request: HttpRequest, pk: Any) -> Response:
        """Change role, name, address, whether the account is open."""
        fields = _clean(PersonChange, request)
        row = actions.update_person(request.user, self.get_object(), **fields)
        return Response(PersonSerializer(row).data)


class MemberSerializer(serializers.ModelSerializer):
    project = serializers.SlugRelatedField("slug", read_only=True)
    user = serializers.SlugRelatedField("username", read_only=True)

    class Meta:
        model = Membership
        fields = ("id", "project", "user", "role")
        read_only_fields = fields


class MemberInput(serializers.Serializer):
    project = serializers.SlugField()
    user = serializers.CharField(max_length=150)
    role = serializers.ChoiceField(Role.choices)


class MemberViewSet(ProjectRows, mixins.DestroyModelMixin):
    """Who has which role in a project; kept by its administrators."""

    rows = Membership.objects.select_related("project", "user")
    serializer_class = MemberSerializer
    filterset_fields = ("project__slug", "user__username", "role")
    cursor_ordering = ("project__slug", "user__username", "pk")
    ordering_fields = ("id",)

    @extend_schema(request=MemberInput, responses={201: MemberSerializer})
    def create(self, request: HttpRequest) -> Response:
        """Give somebody a role; having it already changes nothing."""
        fields = _clean(MemberInput, request)
        project = Project.objects.for_user(request.user).filter(slug=fields["project"]).first()
        if project is None:
            raise serializers.ValidationError({"project": f"{fields['project']!r} is not there"})
        user = User.objects.filter(username=fields["user"]).first()
        if user is None and may(request.user, "administer", project):
            raise serializers.ValidationError(
                {"user": f"nobody has the account {fields['user']!r}"}
            )
        # Whoever may not keep members learns nothing of who has an account.
        made = actions.add_member(request.user, project, user or request.user, fields["role"])
        return Response(MemberSerializer(made).data, status=status.HTTP_201_CREATED)

    def perform_destroy(self, instance: Membership) -> None:
        actions.remove_member(self.request.user, instance)


class DelegationSerializer(serializers.ModelSerializer):
    giver = serializers.SlugRelatedField("username", read_only=True)
    taker = serializers.SlugRelatedField("username", read_only=True)

    class Meta:
        model = Delegation
        fields = ("id", "giver", "taker", "created_at", "ends_at", "ended_at")
        read_only_fields = fields


class DelegationInput(serializers.Serializer):
    taker = serializers.CharField(max_length=150)
    ends_at = serializers.DateTimeField()


class DelegationViewSet(Readable):
    """Decisions in another's place: those that one gave or was given; all for administrators."""

    serializer_class = DelegationSerializer
    cursor_ordering = ("-created_at", "pk")
    ordering_fields = ("created_at",)

    def get_queryset(self) -> Any:
        rows = Delegation.objects.select_related("giver", "taker")
        if getattr(self, "swagger_fake_view", False):
            return rows.none()
        if may(self.request.user, "administer"):
            return rows
        return rows.filter(Q(giver=self.request.user) | Q(taker=self.request.user))

    @extend_schema(request=DelegationInput, responses={201: DelegationSerializer})
    def create(self, request: HttpRequest) -> Response:
        """Let somebody decide in one's place until a moment."""
        fields = _clean(DelegationInput, request)
        taker = User.objects.filter(username=fields["taker"], is_active=True).first()
        if taker is None:
            raise serializers.ValidationError(
                {"taker": f"nobody has the account {fields['taker']!r}"}
            )
        made = actions.delegate(request.user, taker, fields["ends_at"])
        return Response(DelegationSerializer(made).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=None, responses={200: DelegationSerializer})
    @action(detail=True, methods=["post"])
    def end(self, request: HttpRequest, pk: Any) -> Response:
        """Take it back, or give it back."""
        row = self.get_object()
        actions.end_delegation(request.user, row)
        row.refresh_from_db()
        return Response(DelegationSerializer(row).data)
