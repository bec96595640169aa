"""Decisions that the libvirt driver and the fake must take alike. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import NAMESPACE_URL, UUID, uuid5

from .domain.spec import NAME, DomainSpec
from .errors import AlreadyExists, Conflict, InvalidSpec, NoSpace, OwnershipError
from .types import (
    METADATA_NAMESPACE,
    DomainState,
    Metadata,
    NetworkSpec,
    Share,
    VolumeInfo,
    VolumeOwner,
)

#: States in which a domain has a running or resumable guest.
ACTIVE = frozenset({DomainState.RUNNING, DomainState.PAUSED, DomainState.MIGRATING})


def object_uuid(site: str, kind: str, name: str) -> UUID:
    """The fixed uuid of a network or filter of ours; by it we know it again.

    A filter has to keep its uuid or libvirt refuses to redefine it.
    """
    return uuid5(NAMESPACE_URL, f"{METADATA_NAMESPACE}/{site}/{kind}/{name}")


def check_owned(metadata: Metadata | None, site: str, what: str, host: str) -> Metadata:
    """Return the metadata of an object of ours.

    Raises:
        OwnershipError: no mark, or another site's.
    """
    if metadata is None:
        raise OwnershipError(f"{what} carries no mark of ours and is left alone", host=host)
    if metadata.site != site:
        raise OwnershipError(
            f"{what} belongs to site {metadata.site!r}, this is {site!r}", host=host
        )
    return metadata


def check_define(
    spec: DomainSpec,
    *,
    site: str,
    host: str,
    same_uuid: tuple[str, Metadata | None] | None,
    same_name: UUID | None,
) -> None:
    """Whether `spec` may be defined beside what is there.

    Args:
        same_uuid: name and metadata of the domain that has this uuid now.
        same_name: uuid of the domain that has this name now.

    Raises:
        InvalidSpec, AlreadyExists, OwnershipError, Conflict: see `Hypervisor.define`.
    """
    if spec.metadata.site != site:
        raise InvalidSpec.of("metadata.site", spec.metadata.site, f"must be {site!r}", host=host)
    if same_name is not None and same_name != spec.uuid:
        raise AlreadyExists(
            f"the name {spec.name!r} belongs to domain {same_name}",
            host=host,
            details={"field": "name", "value": spec.name},
        )
    if same_uuid is None:
        return
    name, metadata = same_uuid
    present = check_owned(metadata, site, f"domain {name!r} ({spec.uuid})", host)
    if present.generation > spec.metadata.generation:
        raise Conflict(
            f"domain {name!r} is defined with generation {present.generation}, "
            f"newer than {spec.metadata.generation}",
            host=host,
            details={"generation": present.generation},
        )
    if name != spec.name:
        raise AlreadyExists(
            f"domain {spec.uuid} is defined under the name {name!r}",
            host=host,
            details={"field": "uuid", "value": str(spec.uuid)},
        )


def check_generation(metadata: Metadata, wanted: int | None, what: str, host: str) -> None:
    """Refuse to start a copy of another generation than the one placed last."""
    if wanted is not None and metadata.generation != wanted:
        raise Conflict(
            f"{what} has generation {metadata.generation}, generation {wanted} was placed",
            host=host,
            details={"generation": metadata.generation, "wanted": wanted},
        )


def check_image(volume: VolumeInfo | None, sha256: str, host: str) -> bool:
    """Whether a verified image of this content is there; see `Hypervisor.upload_volume`.

    Raises:
        Conflict: the name holds other verified content.
        OwnershipError: the volume is not an image of ours.
    """
    if volume is None or not volume.present:
        return False
    if volume.owner is not None:
        raise Conflict(f"volume {volume.name!r} is a machine's disk, not an image", host=host)
    if volume.sha256 is None and not volume.uploading:
        raise OwnershipError(f"volume {volume.name!r} is not ours and is left alone", host=host)
    if volume.sha256 is not None and volume.sha256 != sha256:
        raise Conflict(
            f"volume {volume.name!r} holds the image {volume.sha256[:12]}, not {sha256[:12]}",
            host=host,
        )
    return volume.sha256 == sha256


def is_earlier_overlay(volume: VolumeInfo | None, owner: VolumeOwner) -> bool:
    """Whether an overlay of an earlier placement of the same machine lies where `owner` wants one.

    It is left from a host that was lost or could not be cleared: its content is older than anything that is known of
    the machine since, so it is set aside and never used.
    """
    return (
        volume is not None
        and volume.present
        and volume.owner is not None
        and (volume.owner.site, volume.owner.machine) == (owner.site, owner.machine)
        and (volume.aside or volume.owner.generation < owner.generation)
    )


def check_aside(volume: VolumeInfo, users: Iterable[str], host: str) -> None:
    """Refuse to set aside an overlay that a running domain has."""
    if used_by := sorted(users):
        raise Conflict(
            f"volume {volume.name!r} of an earlier placement is used by {', '.join(used_by)}",
            host=host,
            details={"used_by": used_by},
        )


def check_overlay(
    volume: VolumeInfo | None, base: VolumeInfo, owner: VolumeOwner, capacity_bytes: int, host: str
) -> bool:
    """Whether the overlay is there already; see `Hypervisor.ensure_overlay`."""
    if capacity_bytes < base.capacity_bytes:
        raise InvalidSpec.of(
            "capacity_bytes",
            capacity_bytes,
            f"at least the image's {base.capacity_bytes} bytes",
            host=host,
        )
    if volume is None:
        return False
    if volume.owner is None:
        raise OwnershipError(f"volume {volume.name!r} is not ours and is left alone", host=host)
    if (volume.owner.site, volume.owner.machine) != (owner.site, owner.machine):
        raise Conflict(
            f"volume {volume.name!r} belongs to machine {volume.owner.machine} "
            f"of site {volume.owner.site}",
            host=host,
        )
    if volume.present and volume.owner.generation > owner.generation:
        raise Conflict(
            f"volume {volume.name!r} was made for generation {volume.owner.generation}, newer than {owner.generation}",
            host=host,
            details={"generation": volume.owner.generation},
        )
    if volume.present and volume.backing_path != base.path:
        raise Conflict(
            f"volume {volume.name!r} lies on {volume.backing_path}, not on {base.path}", host=host
        )
    return volume.present


def check_removable(volume: VolumeInfo, site: str, users: Iterable[str], host: str) -> None:
    """Whether a volume of ours may be removed; see `Hypervisor.remove_volume`."""
    ours = volume.sha256 is not None or volume.uploading
    if volume.owner is not None:
        ours = volume.owner.site == site
    if not ours:
        raise OwnershipError(f"volume {volume.name!r} is not ours and is left alone", host=host)
    used_by = sorted(users)
    if used_by:
        raise Conflict(
            f"volume {volume.name!r} is used by {', '.join(used_by)}",
            host=host,
            details={"used_by": used_by},
        )


def check_space(available_bytes: int, needed_bytes: int, pool: str, host: str) -> None:
    """Refuse before writing what cannot fit."""
    if needed_bytes > available_bytes:
        raise NoSpace(
            f"pool {pool!r} has {available_bytes} bytes free, {needed_bytes} are needed",
            host=host,
            details={"available_bytes": available_bytes, "needed_bytes": needed_bytes},
        )


def check_network(spec: NetworkSpec) -> None:
    """Refuse names that libvirt or the kernel would refuse later."""
    if not NAME.fullmatch(spec.name):
        raise InvalidSpec.of("network.name", spec.name, "letters, digits, ._-; 1 to 63 characters")
    if not NAME.fullmatch(spec.bridge) or len(spec.bridge) > 15:
        raise InvalidSpec.of("network.bridge", spec.bridge, "at most 15 letters, digits, ._-")


#: Bounds of a CPU weight that both cgroup versions take, and the least quota in cores.
LEAST_WEIGHT, MOST_WEIGHT, LEAST_QUOTA = 2, 10_000, 0.01


#: Bounds of libvirt's calculation of a dirty rate, seconds.
MOST_DIRTY_RATE_S = 60


def check_dirty_rate_seconds(seconds: int, host: str) -> None:
    """Raise InvalidSpec for a time over which no dirty rate is measured."""
    if not 1 <= seconds <= MOST_DIRTY_RATE_S:
        raise InvalidSpec.of("seconds", seconds, f"1 to {MOST_DIRTY_RATE_S}", host=host)


def check_share(share: Share, *, memory_bytes: int, balloon: bool, host: str) -> None:
    """Whether a running domain can be given this part of its host.

    Raises:
        InvalidSpec: out of bounds, more memory than the domain has, or no balloon.
    """
    if not LEAST_WEIGHT <= share.cpu_weight <= MOST_WEIGHT:
        raise InvalidSpec.of(
            "cpu_weight", share.cpu_weight, f"{LEAST_WEIGHT} to {MOST_WEIGHT}", host=host
        )
    if share.cpu_quota is not None and share.cpu_quota < LEAST_QUOTA:
        raise InvalidSpec.of(
            "cpu_quota", share.cpu_quota, f"at least {LEAST_QUOTA} cores", host=host
        )
    if share.memory_bytes is None:
        return
    if not balloon:
        raise InvalidSpec.of(
            "memory_bytes", share.memory_bytes, "the domain has no balloon", host=host
        )
    if not 2**20 <= share.memory_bytes <= memory_bytes:
        raise InvalidSpec.of(
            "memory_bytes", share.memory_bytes, f"{2**20} to {memory_bytes}", host=host
        )
