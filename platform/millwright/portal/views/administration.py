"""Administration: people, projects with quota and policy, members; settings and certificates as they are."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from millwright.accounts import people as actions
from millwright.accounts.choices import Role
from millwright.accounts.models import Membership, Project, User
from millwright.accounts.permissions import may
from millwright.catalog.actions import offer_template
from millwright.catalog.models import Template, TemplateVersion
from millwright.portal.people_forms import MemberForm, PersonForm, ProjectForm
from millwright.settings import get_settings
from millwright.settings.describe import certificates, described

from .base import Rows, attempt, refused


def _require_administrator(request: HttpRequest) -> None:
    if not may(request.user, "administer"):
        raise PermissionDenied(_("Administration is for administrators of the plant."))


def _require_project_administrator(request: HttpRequest, row: Project) -> None:
    if not may(request.user, "administer", row):
        raise PermissionDenied(_("Members are kept by the project's administrators."))


class PersonList(Rows):
    """Everybody who has an account, by name; found by a part of it."""

    template_name = "portal/administration/people.html"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if request.user.is_authenticated:
            _require_administrator(request)
        return super().dispatch(request, *args, **kwargs)

    def get_queryset(self) -> Any:
        rows = User.objects.annotate(factors=Count("authenticator", distinct=True)).order_by(
            "username"
        )
        if text := self.request.GET.get("q", "").strip():
            rows = rows.filter(
                Q(username__icontains=text)
                | Q(first_name__icontains=text)
                | Q(last_name__icontains=text)
                | Q(email__icontains=text)
            )
        if (role := self.request.GET.get("role", "")) in set(Role):
            rows = rows.filter(Q(plant_role=role) | Q(memberships__role=role)).distinct()
        return rows

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {
            **super().get_context_data(**kwargs),
            "text": self.request.GET.get("q", ""),
            "roles": Role.choices,
            "selected": self.request.GET.get("role", ""),
        }


@login_required
@never_cache
def person_new(request: HttpRequest) -> HttpResponse:
    """Make an account; its temporary password is shown on the answering page alone."""
    _require_administrator(request)
    form = PersonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        fields = form.cleaned_data
        made = _tried(form, lambda: actions.create_person(request.user, **fields))
        if made is not None:
            return _person(request, *made)
    return render(
        request,
        "portal/administration/form.html",
        {
            "form": form,
            "heading": _("A new account"),
            "back": "portal:people",
            "back_words": _("People"),
            "save": _("Make the account"),
        },
        status=422 if form.errors else 200,
    )


def _person(request: HttpRequest, person: User, password: str = "") -> HttpResponse:
    context = {
        "person": person,
        "password": password,
        "roles": Role.choices,
        "memberships": person.memberships.select_related("project").order_by("project__slug"),
        "sessions": person.usersession_set.order_by("-last_seen_at")[:20],
        "tokens": person.api_tokens.usable()[:50],
        "has_factor": person.authenticator_set.exists(),
    }
    return render(request, "portal/administration/person.html", context)


@login_required
@never_cache
def person(request: HttpRequest, pk: Any) -> HttpResponse:
    """One account: role, whether he may enter, projects, browsers, tokens."""
    _require_administrator(request)
    row = get_object_or_404(User, pk=pk)
    if request.method != "POST":
        return _person(request, row)
    verb = request.POST.get("verb", "")
    if verb == "password":
        made = attempt(request, lambda: actions.reset_password(request.user, row))
        if made:
            row.refresh_from_db()
            return _person(request, row, made)
    elif verb in ("close", "open"):
        attempt(
            request,
            lambda: actions.update_person(request.user, row, is_active=verb == "open"),
            _("He may enter again.")
            if verb == "open"
            else _("Closed: browsers are signed out and tokens revoked."),
        )
    elif verb == "change":
        fields = {
            name: request.POST.get(name, "").strip()
            for name in ("first_name", "last_name", "email", "plant_role")
        }
        fields["is_break_glass"] = bool(request.POST.get("is_break_glass"))  # type: ignore[assignment]
        attempt(request, lambda: actions.update_person(request.user, row, **fields), _("Changed."))
    return redirect("portal:person", pk)


class ProjectList(Rows):
    """Projects with what they may use."""

    template_name = "portal/administration/projects.html"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if request.user.is_authenticated:
            _require_administrator(request)
        return super().dispatch(request, *args, **kwargs)

    def get_queryset(self) -> Any:
        return Project.objects.annotate(people=Count("memberships__user", distinct=True)).order_by(
            "slug"
        )


@login_required
def project_new(request: HttpRequest) -> HttpResponse:
    """Make a project."""
    _require_administrator(request)
    form = ProjectForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        fields = form.fields_of_model()
        made = _tried(form, lambda: actions.create_project(request.user, **fields))
        if made is not None:
            return redirect("portal:project", made.slug)
    return render(
        request,
        "portal/administration/form.html",
        {
            "form": form,
            "heading": _("A new project"),
            "back": "portal:projects",
            "back_words": _("Projects"),
            "save": _("Make the project"),
        },
        status=422 if form.errors else 200,
    )


def _tried(form: Any, change: Any) -> Any:
    try:
        return change()
    except ValidationError as error:
        refused(form, error)
        return None


@login_required
def project(request: HttpRequest, slug: str) -> HttpResponse:
    """Quota, policy and members; whoever administers the project keeps its members."""
    row = get_object_or_404(Project.objects.for_user(request.user), slug=slug)
    _require_project_administrator(request, row)
    plant = may(request.user, "administer")
    form = ProjectForm.of(row, request.POST if request.method == "POST" and plant else None)
    if request.method == "POST":
        if not plant:
            raise PermissionDenied(_("Quota and policy are for administrators of the plant."))
        if form.is_valid():
            fields = form.fields_of_model()
            fields.pop("slug", None)
            if _tried(form, lambda: actions.update_project(request.user, row, **fields)):
                return redirect("portal:project", slug)
    context = {
        "project": row,
        "form": form,
        "may_change": plant,
        "member_form": MemberForm(),
        "memberships": row.memberships.select_related("user").order_by("user__username", "role"),
    }
    return render(
        request,
        "portal/administration/project.html",
        context,
        status=422 if form.errors else 200,
    )


@login_required
@require_POST
def member_add(request: HttpRequest, slug: str) -> HttpResponse:
    """Give somebody a role in the project."""
    row = get_object_or_404(Project.objects.for_user(request.user), slug=slug)
    _require_project_administrator(request, row)
    form = MemberForm(request.POST)
    if form.is_valid():
        user = User.objects.filter(username=form.cleaned_data["username"]).first()
        if user is None:
            attempt(request, lambda: _unknown(form.cleaned_data["username"]))
        else:
            role = form.cleaned_data["role"]
            attempt(
                request,
                lambda: actions.add_member(request.user, row, user, role),
                _("Added."),
            )
    return redirect("portal:project", slug)


def _unknown(username: str) -> None:
    raise ValidationError(
        {"username": _("%(value)r: nobody has this account") % {"value": username}}
    )


@login_required
@require_POST
def member_remove(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Take somebody's role in the project away."""
    row = get_object_or_404(Project.objects.for_user(request.user), slug=slug)
    _require_project_administrator(request, row)
    membership = get_object_or_404(Membership.objects.select_related("user", "project"), pk=pk, project=row)  # fmt: skip
    attempt(request, lambda: actions.remove_member(request.user, membership), _("Taken away."))
    return redirect("portal:project", slug)


@login_required
def settings_page(request: HttpRequest) -> HttpResponse:
    """Settings with where each comes from, templates, certificates with the days they have left."""
    _require_administrator(request)
    settings = get_settings()
    context = {
        "rows": described(settings),
        "certificates": certificates(settings.pki_dir),
        "templates": TemplateVersion.objects.select_related("template").order_by(
            "template__name", "-created_at"
        )[:100],
    }
    return render(request, "portal/administration/settings.html", context)


@login_required
@require_POST
def template_offer(request: HttpRequest, name: str) -> HttpResponse:
    """Have a template in the catalogue, or take it out; machines made from it stay."""
    _require_administrator(request)
    row = get_object_or_404(Template, name=name)
    wanted = request.POST.get("offered", "")
    if wanted in ("yes", "no"):
        attempt(
            request,
            lambda: (offer_template(request.user, row, wanted == "yes"),),
            _("It is in the catalogue.") if wanted == "yes" else _("It is no longer offered."),
        )
    return redirect(f"{reverse('portal:settings')}#templates")
