"""Forms of the pages. Rules live in the actions; forms only offer what the person may choose."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.forms.utils import ErrorDict
from django.utils.translation import gettext_lazy as _

from millwright.accounts.models import Project
from millwright.accounts.permissions import projects_with
from millwright.catalog.models import TemplateVersion
from millwright.environments.actions import MAX_COPIES
from millwright.environments.sizes import sizes_of
from millwright.inventory.models import Cell
from millwright.shopfloor.modbus_security import parse_ranges
from millwright.shopfloor.models import Device, ProgramVersion
from millwright.shopfloor.stations import network_in

from .templatetags.mw import binary_size
from .words import WORDS


def projects_for(user: Any, verb: str) -> Any:
    """Projects where the person may do the verb."""
    ids = projects_with(user, verb)
    return Project.objects.all() if ids is None else Project.objects.filter(pk__in=ids)


def _is_key(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def style(form: forms.BaseForm) -> None:
    """Give every field the design system's class and its description's id."""
    for bound in form:
        widget = bound.field.widget
        if isinstance(widget, forms.CheckboxInput):
            widget.attrs.setdefault("class", "form-check-input")
        elif isinstance(widget, forms.Select):
            widget.attrs.setdefault("class", "form-select")
        else:
            widget.attrs.setdefault("class", "form-control")
        if form.is_bound and bound.errors:
            widget.attrs["class"] += " is-invalid"


class RequestForm(forms.Form):
    name = forms.CharField(
        label=_("Name of the environment"), max_length=40, help_text=_("For example filling-line-1")
    )
    project = forms.ModelChoiceField(Project.objects.none(), label=_("Project"))
    template_version = forms.ModelChoiceField(TemplateVersion.objects.none(), label=_("Template"))
    size = forms.ChoiceField(label=_("Size"))
    cell = forms.ModelChoiceField(
        Cell.objects.all(),
        label=_("Cell"),
        required=False,
        help_text=_("The shop-floor network its devices are in"),
    )
    program_version = forms.ModelChoiceField(
        ProgramVersion.objects.none(),
        label=_("Control program"),
        required=False,
        help_text=_("Can also be deployed later"),
    )
    strict_realtime = forms.BooleanField(
        label=_("Insist on a core of its own"),
        required=False,
        help_text=_("Refuse in place of running best-effort"),
    )
    devices = forms.ModelMultipleChoiceField(
        Device.objects.none(),
        label=_("Devices"),
        required=False,
        help_text=_("Registered devices that it is for; their registers are mapped once it runs"),
    )
    lease_days = forms.IntegerField(
        label=_("Lease in days"), min_value=1, max_value=3660, initial=30
    )
    copies = forms.IntegerField(
        label=_("How many alike"),
        min_value=1,
        max_value=MAX_COPIES,
        initial=1,
        required=False,
        help_text=_("Several get numbers after their name, and are approved together"),
    )
    justification = forms.CharField(
        label=_("Justification"), required=False, widget=forms.Textarea(attrs={"rows": 3})
    )

    def __init__(self, user: Any, *args: Any, quiet: bool = False, **kwargs: Any) -> None:
        """`quiet`: nothing is told to be wrong yet; the person only looks for something."""
        super().__init__(*args, **kwargs)
        if quiet:
            self._errors = ErrorDict()
        self.fields["project"].queryset = projects_for(user, "request")
        versions = TemplateVersion.objects.filter(template__offered=True).select_related("template")
        self.fields["template_version"].queryset = versions
        self.fields["program_version"].queryset = (
            ProgramVersion.objects.for_user(user)
            .filter(state__in=("ready", "queued", "building"))
            .select_related("program")
        )
        self.fields["size"].choices = list(self._sizes(versions).items())
        self._offer_devices()
        if self.fields["project"].queryset.count() == 1:
            self.fields["project"].initial = self.fields["project"].queryset.first()
        if Cell.objects.count() == 1:
            self.fields["cell"].initial = Cell.objects.first()
        style(self)

    #: So many are shown to tick besides those that are ticked; a search finds the others.
    devices_shown = 40

    def _offer_devices(self) -> None:
        field = self.fields["devices"]
        field.queryset = (
            Device.objects.filter(project__in=self.fields["project"].queryset)
            .select_related("cell", "project")
            .order_by("cell__slug", "name")
        )
        if not field.queryset.exists():
            del self.fields["devices"]

    def _given(self, name: str) -> Any:
        """What another field says now, if that can be meant."""
        if not self.is_bound:
            found = self.initial.get(name, self.fields[name].initial)
            return found() if callable(found) else found
        try:
            return self.fields[name].clean(self.data.get(name))
        except ValidationError:
            return None

    def devices_to_tick(self) -> dict[str, Any]:
        """Ticked devices, then those of the chosen project and cell that the search finds."""
        field = self.fields["devices"]
        if self.is_bound:
            keys = [key for key in self.data.getlist("devices") if _is_key(key)]
            text = self.data.get("find_device", "").strip()
        else:
            keys, text = [row.pk for row in self.initial.get("devices") or ()], ""
        ticked = list(field.queryset.filter(pk__in=keys))
        rows = field.queryset.exclude(pk__in=keys)
        if project := self._given("project"):
            rows = rows.filter(project=project)
        if cell := self._given("cell"):
            rows = rows.filter(cell=cell)
        for word in text.split():
            rows = rows.filter(Q(name__icontains=word) | Q(address__icontains=word))
        found = list(rows[: self.devices_shown + 1])
        return {
            "ticked": ticked,
            "offered": found[: self.devices_shown],
            "more": len(found) > self.devices_shown,
            "find": text,
        }

    def clean_devices(self) -> Any:
        """A request keeps names: one of another project must not stand for its namesake in this one."""
        rows, project = self.cleaned_data["devices"], self.cleaned_data.get("project")
        if project is not None and (other := [row for row in rows if row.project_id != project.pk]):
            raise ValidationError(
                _("%(names)s: no such device of %(project)s in cell %(cell)s")
                % {
                    "names": ", ".join(row.name for row in other),
                    "project": project,
                    "cell": self.cleaned_data.get("cell") or "–",
                }
            )
        return rows

    def asked(self) -> dict[str, Any]:
        """What was filled in, as a request keeps it."""
        given = dict(self.cleaned_data)
        given["devices"] = [row.name for row in given.get("devices", ())]
        return given

    def device_names(self, keys: list[str]) -> list[str]:
        """Names of those that are chosen, as far as they are offered."""
        if "devices" not in self.fields:
            return []
        try:
            return [row.name for row in self.fields["devices"].clean(keys)]
        except forms.ValidationError:
            return []

    @staticmethod
    def _sizes(versions: Any) -> dict[str, str]:
        found: dict[str, str] = {}
        for version in versions:
            for size in sizes_of(version.spec):
                text = _("%(name)s: %(vcpus)s vCPUs, %(memory)s memory") % {
                    "name": WORDS.get(size.name, size.name),
                    "vcpus": size.vcpus,
                    "memory": binary_size(size.memory_bytes),
                }
                found.setdefault(size.name, str(text))
        return found


class UploadForm(forms.Form):
    project = forms.ModelChoiceField(Project.objects.none(), label=_("Project"))
    name = forms.CharField(label=_("Name of the program"), max_length=48)
    source = forms.CharField(
        label=_("Structured Text"),
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"class": "form-control mw-code", "spellcheck": "false"}),
    )
    archive = forms.FileField(
        label=_("or a project folder as ZIP"),
        required=False,
        help_text=_("With vplc.toml, src/, io/ and so on"),
    )

    def __init__(self, user: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["project"].queryset = projects_for(user, "engineer")
        if self.fields["project"].queryset.count() == 1:
            self.fields["project"].initial = self.fields["project"].queryset.first()
        style(self)


class DeviceForm(forms.ModelForm):
    class Meta:
        model = Device
        fields = (
            "name",
            "project",
            "cell",
            "protocol",
            "address",
            "port",
            "unit",
            "rate_ms",
            "timeout_ms",
            "word_order",
        )

    def __init__(self, user: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["project"].queryset = projects_for(user, "engineer")
        for name, model in (("project", None), ("cell", Cell)):
            queryset = self.fields[name].queryset if model is None else model.objects.all()
            if queryset.count() == 1:
                self.fields[name].initial = queryset.first()
        style(self)


class StationForm(forms.Form):
    project = forms.ModelChoiceField(Project.objects.none(), label=_("Project"))
    cell = forms.ModelChoiceField(Cell.objects.all(), label=_("Cell"))
    name = forms.SlugField(
        label=_("Name"), max_length=48, help_text=_("For example commissioning-desk")
    )
    cidr = forms.CharField(
        label=_("Address or network"),
        max_length=43,
        help_text=_("In the cell: 10.90.1.8, or 10.90.1.8/30 for several"),
    )
    write_ranges = forms.CharField(
        label=_("May write"),
        required=False,
        max_length=2000,
        help_text=_("Like holding 3-9, coil 320. Empty: it only reads."),
    )

    def __init__(self, user: Any, *args: Any, station: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        projects = projects_for(user, "administer")
        self.fields["project"].queryset = projects
        for name in ("project", "cell"):
            rows = self.fields[name].queryset
            if rows.count() == 1:
                self.fields[name].initial = rows.first()
        if station is not None:
            # What it is known by stays; a new name is a new station.
            del self.fields["project"], self.fields["name"]
        style(self)

    def clean(self) -> dict[str, Any]:
        """Address and ranges are told with what else is wrong, not after it."""
        data = super().clean() or self.cleaned_data
        try:
            data["write_ranges"] = parse_ranges(data.get("write_ranges", ""), "write_ranges")
        except ValidationError as error:
            self.add_error(None, error)
        try:
            if data.get("cell") and data.get("cidr"):
                data["cidr"] = network_in(data["cell"], data["cidr"])
        except ValidationError as error:
            self.add_error(None, error)
        return data
