"""One's own notifications and what one is told, webhooks, and the log of deliveries."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import permissions, serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from millwright.accounts.language import choose_language
from millwright.accounts.models import Project
from millwright.api.bases import ProjectRows, Readable
from millwright.notifications import actions
from millwright.notifications.kinds import KINDS
from millwright.notifications.models import Delivery, Notification, Webhook

from .people import AdministratorPermission

KIND_CHOICES = [(code, code) for code in KINDS]


class NotificationSerializer(serializers.ModelSerializer):
    kind = serializers.CharField(source="notice.kind", read_only=True)
    level = serializers.CharField(source="notice.words.level", read_only=True)
    text = serializers.CharField(source="notice.text", read_only=True)
    link = serializers.CharField(source="notice.link", read_only=True)
    subject_type = serializers.CharField(source="notice.subject_type", read_only=True)
    subject_id = serializers.CharField(source="notice.subject_id", read_only=True)

    class Meta:
        model = Notification
        fields = ("id", "kind", "level", "text", "link", "subject_type", "subject_id", "at", "read_at")  # fmt: skip
        read_only_fields = fields


class ChoiceSerializer(serializers.Serializer):
    kind = serializers.ChoiceField(KIND_CHOICES)
    inbox = serializers.BooleanField()
    mail = serializers.BooleanField()


class LanguageSerializer(serializers.Serializer):
    """Of pages and letters; empty: the browser's on pages, the plant's in letters."""

    language = serializers.ChoiceField(settings.LANGUAGES, allow_blank=True)


class CountSerializer(serializers.Serializer):
    count = serializers.IntegerField(read_only=True)


class ReadAnswer(serializers.Serializer):
    """A mark is a wish about one's own inbox."""

    read = serializers.IntegerField(read_only=True)


class NotificationViewSet(Readable):
    """One's own inbox."""

    serializer_class = NotificationSerializer
    filterset_fields = ("notice__kind",)
    cursor_ordering = ("-at", "-pk")
    ordering_fields = ("at",)

    def get_queryset(self) -> Any:
        rows = Notification.objects.select_related("notice")
        if getattr(self, "swagger_fake_view", False):
            return rows.none()
        return rows.filter(user=self.request.user)

    @extend_schema(request=None, responses={200: NotificationSerializer})
    @action(detail=True, methods=["post"])
    def read(self, request: HttpRequest, pk: Any) -> Response:
        """Mark it as read."""
        row = self.get_object()
        actions.mark_read(request.user, row)
        row.refresh_from_db()
        return Response(NotificationSerializer(row).data)

    @extend_schema(request=None, responses={200: ReadAnswer})
    @action(detail=False, methods=["post"], url_path="read-all")
    def read_all(self, request: HttpRequest) -> Response:
        """Mark all as read."""
        return Response({"read": actions.mark_all_read(request.user)})

    @extend_schema(responses={200: CountSerializer})
    @action(detail=False, methods=["get"], pagination_class=None, filter_backends=[])
    def unread(self, request: HttpRequest) -> Response:
        """How many are not read, up to 100."""
        return Response({"count": actions.unread(request.user)})

    @extend_schema(methods=["get"], responses={200: ChoiceSerializer(many=True)})
    @extend_schema(
        methods=["post"], request=ChoiceSerializer, responses={200: ChoiceSerializer(many=True)}
    )
    @action(detail=False, methods=["get", "post"], pagination_class=None, filter_backends=[])
    def choices(self, request: HttpRequest) -> Response:
        """What one is told of; a POST sets one kind."""
        if request.method == "POST":
            data = ChoiceSerializer(data=request.data)
            data.is_valid(raise_exception=True)
            row = data.validated_data
            actions.choose(request.user, {row["kind"]: (row["inbox"], row["mail"])})
        return Response(
            [
                {"kind": code, "inbox": inbox, "mail": mail}
                for code, (inbox, mail) in actions.choices_of(request.user).items()
            ]
        )

    @extend_schema(methods=["get"], responses={200: LanguageSerializer})
    @extend_schema(
        methods=["post"], request=LanguageSerializer, responses={200: LanguageSerializer}
    )
    @action(detail=False, methods=["get", "post"], pagination_class=None, filter_backends=[])
    def language(self, request: HttpRequest) -> Response:
        """In which language one reads pages and letters; a POST chooses another."""
        if request.method == "POST":
            data = LanguageSerializer(data=request.data)
            data.is_valid(raise_exception=True)
            choose_language(request.user, data.validated_data["language"])
        return Response({"language": request.user.language})


class WebhookSerializer(serializers.ModelSerializer):
    project = serializers.SlugRelatedField("slug", read_only=True, allow_null=True)
    kinds = serializers.ListField(child=serializers.CharField(), read_only=True)

    class Meta:
        model = Webhook
        fields = ("id", "name", "url", "kinds", "project", "enabled", "created_at")
        read_only_fields = fields


class WebhookSecretSerializer(WebhookSerializer):
    """With the secret, which no other answer has."""

    secret = serializers.CharField(read_only=True)

    class Meta(WebhookSerializer.Meta):
        fields = (*WebhookSerializer.Meta.fields, "secret")
        read_only_fields = fields


class WebhookInput(serializers.Serializer):
    name = serializers.CharField(max_length=80)
    url = serializers.CharField(max_length=500)
    kinds = serializers.ListField(
        child=serializers.ChoiceField(KIND_CHOICES), required=False, default=list, max_length=50
    )
    project = serializers.SlugRelatedField(
        "slug", queryset=Project.objects.all(), required=False, allow_null=True, default=None
    )


class EnabledInput(serializers.Serializer):
    enabled = serializers.BooleanField()


class DeliverySerializer(serializers.ModelSerializer):
    to = serializers.SerializerMethodField()
    channel = serializers.SerializerMethodField()
    kind = serializers.SerializerMethodField()

    class Meta:
        model = Delivery
        fields = ("id", "channel", "to", "kind", "state", "attempts", "created_at", "next_at", "ended_at", "answer")  # fmt: skip
        read_only_fields = fields

    def get_to(self, row: Delivery) -> str:
        return row.webhook.name if row.webhook else row.user.username if row.user else ""

    def get_channel(self, row: Delivery) -> str:
        return "webhook" if row.webhook_id else "mail"

    def get_kind(self, row: Delivery) -> str:
        return row.notice.kind if row.notice else "test"


class WebhookViewSet(Readable):
    """Addresses that are told what happens; for the plant's administrators."""

    permission_classes = (permissions.IsAuthenticated, AdministratorPermission)
    queryset = Webhook.objects.select_related("project")
    serializer_class = WebhookSerializer
    filterset_fields = ("enabled",)
    cursor_ordering = ("name",)
    ordering_fields = ("name",)

    def _with_secret(self, row: Webhook, secret: str) -> dict[str, Any]:
        return {**WebhookSerializer(row).data, "secret": secret}

    @extend_schema(request=WebhookInput, responses={201: WebhookSecretSerializer})
    def create(self, request: HttpRequest) -> Response:
        """Make one; its secret is in this answer alone."""
        data = WebhookInput(data=request.data)
        data.is_valid(raise_exception=True)
        made, secret = actions.add_webhook(request.user, **data.validated_data)
        return Response(self._with_secret(made, secret), status=status.HTTP_201_CREATED)

    @extend_schema(responses={204: None})
    def destroy(self, request: HttpRequest, pk: Any) -> Response:
        """Remove it with its log."""
        actions.remove_webhook(request.user, self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=None, responses={200: WebhookSecretSerializer})
    @action(detail=True, methods=["post"])
    def rotate(self, request: HttpRequest, pk: Any) -> Response:
        """Give it another secret."""
        row = self.get_object()
        return Response(self._with_secret(row, actions.rotate_webhook(request.user, row)))

    @extend_schema(request=None, responses={200: DeliverySerializer})
    @action(detail=True, methods=["post"])
    def test(self, request: HttpRequest, pk: Any) -> Response:
        """Send a test message; the delivery says what came of it."""
        made = actions.test_webhook(request.user, self.get_object())
        return Response(DeliverySerializer(made).data)

    @extend_schema(request=EnabledInput, responses={200: WebhookSerializer})
    @action(detail=True, methods=["post"])
    def switch(self, request: HttpRequest, pk: Any) -> Response:
        """Switch it on or off."""
        data = EnabledInput(data=request.data)
        data.is_valid(raise_exception=True)
        row = self.get_object()
        actions.enable_webhook(request.user, row, data.validated_data["enabled"])
        return Response(WebhookSerializer(row).data)


class DeliveryViewSet(ProjectRows):
    """The log of mail and webhooks: one's own, everything for administrators."""

    rows = Delivery.objects.select_related("notice", "user", "webhook")
    serializer_class = DeliverySerializer
    filterset_fields = ("state",)
    cursor_ordering = ("-created_at", "-pk")
    ordering_fields = ("created_at",)

    @extend_schema(request=None, responses={200: DeliverySerializer})
    @action(detail=True, methods=["post"])
    def retry(self, request: HttpRequest, pk: Any) -> Response:
        """Try one again that was given up."""
        row = self.get_object()
        actions.retry(request.user, row)
        row.refresh_from_db()
        return Response(DeliverySerializer(row).data)
