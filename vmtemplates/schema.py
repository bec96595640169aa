"""template.yaml, schema 1."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MIB = 2**20
#: Page sizes that may back a machine's memory.
PAGES = {"2M": 2 * MIB, "1G": 1024 * MIB}


#: A network of 800 Gbit/s.
MOST_BYTES_S = 100 * 10**9


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Vcpu(_Strict):
    """One vCPU. A control vCPU wants a core of its own."""

    role: Literal["control", "housekeeping", "shared"]


class Size(_Strict):
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
    vcpus: Annotated[list[Vcpu], Field(min_length=1, max_length=64)]
    memory_bytes: Annotated[int, Field(ge=64 * MIB, multiple_of=MIB)]
    disk_bytes: Annotated[int, Field(ge=0)]


class Devices(_Strict):
    graphics: bool = False
    channels: list[Literal["guest-agent"]] = []
    nics: list[Literal["cell", "management"]] = ["cell"]


class ImageRecipe(_Strict):
    """How the image is made: a recipe of this package, and what it takes."""

    recipe: Literal["initramfs", "debian"]
    kernel_package: str
    packages: list[str] = []
    disk_bytes: Annotated[int, Field(ge=0)] = 0
    #: whether the controller's runtime goes into it: its sources then belong to the image's name
    runtime: bool = False


class Boot(_Strict):
    cmdline: str = ""
    marker: str = ""


class Health(_Strict):
    """How it is known to work: `none`, or a protocol that answers within the time.

    `http`: the machine uses its own software now and then, and says so at the output `health`.
    """

    probe: Literal["none", "agent", "modbus", "http"]
    timeout_s: Annotated[float, Field(gt=0)] = 120.0


class Gpu(_Strict):
    """Graphics cards that a machine is given whole, or instances of a vGPU profile.

    `model`: of whole cards, vendor and product as `lspci -n` writes them; else any. `profile`: a mediated-device type
    as hosts tell them (`nvidia-35`); `count` is then of its instances.
    """

    count: Annotated[int, Field(ge=1, le=16)] = 1
    model: Annotated[str, Field(pattern=r"^([0-9a-f]{4}:[0-9a-f]{4})?$")] = ""
    profile: Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,63})?$")] = ""

    @model_validator(mode="after")
    def _whole_or_in_parts(self) -> Gpu:
        if self.model and self.profile:
            raise ValueError(
                "gpu: model asks for whole cards and profile for parts of one: name one of them"
            )
        return self


class Requires(_Strict):
    """What its host must have: it is placed, moved and recovered to no other.

    `hugepages`: size of the pages that back all its memory. `cpu_features`: libvirt's names. `storage_pool`: the
    pool that holds its disk, on every host where it is to run. `bandwidth_bytes_s`: what each of its networks needs
    of the host's NICs, bytes per second.
    """

    hugepages: Literal["", "2M", "1G"] = ""
    cpu_features: Annotated[
        list[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,31}$")]], Field(max_length=64)
    ] = []
    storage_pool: Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,62})?$")] = ""
    gpu: Gpu | None = None
    bandwidth_bytes_s: dict[
        Literal["cell", "management"], Annotated[int, Field(ge=0, le=MOST_BYTES_S)]
    ] = {}

    @model_validator(mode="after")
    def _each_feature_once(self) -> Requires:
        if len(set(self.cpu_features)) != len(self.cpu_features):
            raise ValueError("cpu_features: a feature is named twice")
        return self


class Template(_Strict):
    """One template."""

    schema_version: Literal[1] = Field(alias="schema")
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
    version: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)*$")]
    title: Annotated[str, Field(min_length=1, max_length=120)]
    summary: str = ""
    icon: str = ""
    #: whether people find it in the catalogue
    offered: bool = True
    service_class: Literal["realtime", "guaranteed", "shared"] = Field(alias="class")
    sizes: Annotated[list[Size], Field(min_length=1)]
    devices: Devices = Devices()
    requires: Requires = Requires()
    #: what users of such a machine suffer from a move, in core-seconds: balancing counts it as its cost
    disruption: Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)] = 0.0
    image: ImageRecipe
    boot: Boot = Boot()
    identity: Literal["none", "smbios"] = "none"
    health: Health
    outputs: dict[
        Literal["modbus", "modbus_tls", "opcua", "metrics", "http", "mqtt", "health"],
        Annotated[int, Field(ge=1, le=65535)],
    ] = {}

    @model_validator(mode="after")
    def _roles_fit_the_class(self) -> Template:
        names = [size.name for size in self.sizes]
        if len(set(names)) != len(names):
            raise ValueError("sizes: names repeat")
        for size in self.sizes:
            control = [vcpu for vcpu in size.vcpus if vcpu.role == "control"]
            if self.service_class == "realtime" and not control:
                raise ValueError(
                    f"sizes.{size.name}.vcpus: class realtime needs a vCPU of role control"
                )
            if self.service_class != "realtime" and control:
                raise ValueError(
                    f"sizes.{size.name}.vcpus: role control is for class realtime only"
                )
            page = PAGES.get(self.requires.hugepages)
            if page and size.memory_bytes % page:
                raise ValueError(
                    f"sizes.{size.name}.memory_bytes: {size.memory_bytes} is not a whole number of"
                    f" pages of {self.requires.hugepages}"
                )
        for network in self.requires.bandwidth_bytes_s:
            if network not in self.devices.nics:
                raise ValueError(
                    f"requires.bandwidth_bytes_s.{network}: the machine has no such network; devices.nics:"
                    f" {', '.join(self.devices.nics) or 'none'}"
                )
        if self.health.probe == "http" and "health" not in self.outputs:
            raise ValueError("outputs: probe http needs the output health, the port that it asks")
        return self

    def as_spec(self) -> dict[str, object]:
        """The template as data, as the catalogue keeps it."""
        return self.model_dump(by_alias=True)
