"""The inbox, what one wants to be told of, webhooks, and the log of deliveries."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from millwright.accounts.models import Project
from millwright.accounts.permissions import may
from millwright.notifications import actions
from millwright.notifications.kinds import KINDS
from millwright.notifications.models import Delivery, Notification, Webhook
from millwright.settings import get_settings

from .base import Rows, attempt


class Inbox(Rows):
    """One's own notifications, newest first."""

    template_name = "portal/notifications.html"

    def get_queryset(self) -> Any:
        rows = Notification.objects.filter(user=self.request.user).select_related("notice")
        return rows.filter(read_at=None) if self.request.GET.get("unread") else rows


@login_required
@require_GET
@never_cache
def unread(request: HttpRequest) -> HttpResponse:
    """The number in the page's head, asked for again every while."""
    return render(request, "portal/parts/unread.html")


@login_required
@require_POST
def open_one(request: HttpRequest, pk: int) -> HttpResponse:
    """Mark as read and go to the page that it speaks of."""
    rows = Notification.objects.filter(user=request.user).select_related("notice")
    row = get_object_or_404(rows, pk=pk)
    actions.mark_read(request.user, row)
    return redirect(row.notice.link or "portal:notifications")


@login_required
@require_POST
def read_all(request: HttpRequest) -> HttpResponse:
    """Mark all of one's own as read."""
    actions.mark_all_read(request.user)
    return redirect("portal:notifications")


@login_required
def choices(request: HttpRequest) -> HttpResponse:
    """What one is told of in the inbox and by mail, and where mail goes."""
    if request.method == "POST":
        inbox, mail = request.POST.getlist("inbox"), request.POST.getlist("mail")
        wanted = {code: (code in inbox, code in mail) for code in KINDS}
        email = request.POST.get("email", "").strip()[:254]
        language = request.POST.get("language", request.user.language)
        attempt(request, lambda: actions.choose(request.user, wanted, email, language), _("Saved."))
        return redirect("portal:notification_choices")
    chosen = actions.choices_of(request.user)
    rows = [(KINDS[code], *wanted) for code, wanted in chosen.items()]
    return render(
        request,
        "portal/notification_choices.html",
        {"rows": rows, "mail_is_set_up": bool(get_settings().smtp_host)},
    )


class DeliveryList(Rows):
    """What was mailed and sent: one's own; everything for administrators."""

    template_name = "portal/deliveries.html"
    rows = Delivery.objects.select_related("notice", "user", "webhook")

    def get_queryset(self) -> Any:
        rows = super().get_queryset()
        state = self.request.GET.get("state", "")
        return rows.filter(state=state) if state in dict(Delivery.STATES) else rows

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(
            states=Delivery.STATES, state=self.request.GET.get("state", ""), **kwargs
        )


def _require_administrator(request: HttpRequest) -> None:
    if not may(request.user, "administer"):
        raise PermissionDenied(_("Administration is for administrators of the plant."))


@login_required
@require_POST
def delivery_retry(request: HttpRequest, pk: Any) -> HttpResponse:
    """Try one again that was given up."""
    _require_administrator(request)
    row = get_object_or_404(Delivery, pk=pk)
    attempt(request, lambda: actions.retry(request.user, row), _("It will be tried again."))
    return redirect("portal:deliveries")


def _add(request: HttpRequest) -> Any:
    project = None
    if slug := request.POST.get("project", ""):
        project = Project.objects.filter(slug=slug).first()
        if project is None:
            raise ValidationError({"project": _("choose one of the list")})
    return actions.add_webhook(
        request.user,
        name=request.POST.get("name", ""),
        url=request.POST.get("url", ""),
        kinds=request.POST.getlist("kinds"),
        project=project,
    )


@login_required
@never_cache
def webhooks(request: HttpRequest) -> HttpResponse:
    """The list; a POST makes one and shows its secret on the answering page alone."""
    _require_administrator(request)
    context: dict[str, Any] = {"typed": request.POST}
    status = 200
    if request.method == "POST":
        made = attempt(request, lambda: _add(request))
        if made is None:
            status = 422
        else:
            context |= {"made": made[0], "secret": made[1], "typed": {}}
    context |= {
        "rows": Webhook.objects.select_related("project")[:200],
        "kinds": KINDS.values(),
        "chosen": request.POST.getlist("kinds") if status == 422 else [],
        "projects": Project.objects.all(),
        "networks": get_settings().webhook_networks,
    }
    return render(request, "portal/administration/webhooks.html", context, status=status)


@login_required
@never_cache
@require_POST
def webhook_act(request: HttpRequest, pk: Any) -> HttpResponse:
    """Switch, try, give another secret, remove."""
    _require_administrator(request)
    row = get_object_or_404(Webhook, pk=pk)
    verb = request.POST.get("verb", "")
    if verb == "rotate":
        secret = attempt(request, lambda: actions.rotate_webhook(request.user, row))
        return render(
            request,
            "portal/administration/webhooks.html",
            {
                "made": row,
                "secret": secret,
                "rows": Webhook.objects.select_related("project")[:200],
                "kinds": KINDS.values(),
                "projects": Project.objects.all(),
                "networks": get_settings().webhook_networks,
            },
        )
    changes: dict[str, tuple[Any, str]] = {
        "enable": (lambda: actions.enable_webhook(request.user, row, True), _("Switched on.")),
        "disable": (lambda: actions.enable_webhook(request.user, row, False), _("Switched off.")),
        "test": (
            lambda: actions.test_webhook(request.user, row),
            _("A test message is on its way; the log says what came of it."),
        ),
        "remove": (lambda: actions.remove_webhook(request.user, row), _("Removed.")),
    }
    if verb not in changes:
        raise PermissionDenied(_("Choose one of the buttons."))
    attempt(request, changes[verb][0], changes[verb][1])
    return redirect("portal:webhooks")
