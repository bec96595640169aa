"""Forms of administration. Rules live in the actions; memory and disk are typed in GiB."""

from __future__ import annotations

from typing import Any, Self

from django import forms
from django.utils.translation import gettext_lazy as _

from millwright.accounts.choices import Role
from millwright.accounts.models import Project

from .forms import style

GIB = 2**30
_NUMBERS = (
    "quota_vcpus",
    "quota_realtime_cores",
    "quota_environments",
    "auto_approve_vcpus",
    "second_approval_vcpus",
    "decide_after_days",
    "max_lease_days",
)
#: Field of the form → field of the model, in GiB on the form.
_SIZES = {"memory_gib": "quota_memory_bytes", "disk_gib": "quota_disk_bytes"}


class PersonForm(forms.Form):
    username = forms.CharField(label=_("Account"), max_length=40)
    full_name = forms.CharField(label=_("Full name"), max_length=200, required=False)
    email = forms.EmailField(
        label=_("E-mail address"), required=False, help_text=_("For news of requests")
    )
    plant_role = forms.ChoiceField(
        label=_("Role on the whole plant"),
        choices=[("", _("none: by project only")), *Role.choices],
        required=False,
    )
    is_service = forms.BooleanField(
        label=_("Service account: for programs, entered by tokens only"), required=False
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        style(self)


def _limit(name: str) -> forms.IntegerField:
    field = Project._meta.get_field(name)
    return forms.IntegerField(label=field.verbose_name, min_value=0, initial=field.default)


class ProjectForm(forms.Form):
    slug = forms.CharField(label=_("Short name"), max_length=48)
    name = forms.CharField(label=_("Title"), max_length=120)
    quota_vcpus = _limit("quota_vcpus")
    quota_realtime_cores = _limit("quota_realtime_cores")
    memory_gib = forms.IntegerField(label=_("Memory in GiB"), min_value=0, initial=16)
    disk_gib = forms.IntegerField(label=_("Disk in GiB"), min_value=0, initial=200)
    quota_environments = _limit("quota_environments")
    max_lease_days = _limit("max_lease_days")
    auto_approve_vcpus = _limit("auto_approve_vcpus")
    second_approval_vcpus = _limit("second_approval_vcpus")
    decide_after_days = _limit("decide_after_days")
    decide_after = forms.ChoiceField(
        label=_("policy's decision"),
        choices=[("reject", _("reject")), ("approve", _("approve"))],
        initial="reject",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, words in {
            "auto_approve_vcpus": _("Without realtime cores; 0: a person always decides"),
            "second_approval_vcpus": _("0: one approver is enough"),
            "decide_after_days": _("0: a request waits until it expires"),
        }.items():
            self.fields[name].help_text = words
        style(self)

    @classmethod
    def of(cls, project: Project, data: Any) -> Self:
        """The form of a project that exists; its short name stays."""
        initial = {name: getattr(project, name) for name in ("name", "decide_after", *_NUMBERS)}
        for ours, theirs in _SIZES.items():
            initial[ours] = getattr(project, theirs) // GIB
        form = cls(data, initial=initial)
        del form.fields["slug"]
        return form

    def fields_of_model(self) -> dict[str, Any]:
        """What was typed, by the model's names and units."""
        return {_SIZES.get(key, key): value * GIB if key in _SIZES else value for key, value in self.cleaned_data.items()}  # fmt: skip


class MemberForm(forms.Form):
    username = forms.CharField(label=_("Account"), max_length=150)
    role = forms.ChoiceField(label=_("Role"), choices=Role.choices)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        style(self)
