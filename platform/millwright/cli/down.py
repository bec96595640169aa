"""`millwright down`: the processes, the guests, the lab. What is not ours is listed, never touched."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import click

from millwright.settings import Settings, get_settings

from .errors import CliError
from .place import alone, checkout, owner, owner_of

if TYPE_CHECKING:
    from millwright.hypervisor import Hypervisor


@click.command()
@click.option(
    "--pool", default="", help="The libvirt that `up --pool` used; lists what would be removed."
)
@click.option("--yes", is_flag=True, help="Really remove what is listed from the pool.")
@click.option("--keep-data", is_flag=True, help="Keep database, certificates, secrets and metrics.")
def down(pool: str, yes: bool, keep_data: bool) -> None:
    """Take everything of this installation away. Caches of images stay; they are shared."""
    settings = get_settings()
    with alone(settings.home):
        _down(settings, pool, yes, keep_data)
    click.echo("down")


def _down(settings: Settings, pool: str, yes: bool, keep_data: bool) -> None:
    """The work of `down`."""
    if pool and not _clean_pool(settings, pool, yes):
        raise CliError("nothing was removed; add --yes (make down POOL=… YES=1)")
    from .supervision import Supervision

    for name in Supervision(settings, checkout()).down():
        click.echo(f"ended {name}")
    holder = owner_of(settings.instance)
    if holder == owner() or (holder is None and settings.lab_dir.exists()):
        _end_lab(settings)
    else:
        # The bridges and namespaces of that number are somebody else's, or nobody's.
        click.echo(
            f"no lab of this installation ({settings.instance} belongs to {holder or 'nobody'})"
        )
    if not keep_data and settings.home.exists():
        shutil.rmtree(settings.home)
        click.echo(f"removed {settings.home}")
    if not keep_data and holder == owner():
        from .up.machine import give_instance_back

        give_instance_back()


def _end_lab(settings: Settings) -> None:
    from millwright.lab import Lab, LabError

    try:
        Lab(settings.lab_dir, settings.pki_dir, settings.index).down(click.echo)
    except LabError as error:
        raise CliError(str(error)) from None


def _clean_pool(settings: Settings, uri: str, yes: bool) -> bool:
    """List what of ours a pool holds, and remove it if told to; False if it was only listed."""
    from .up.database import setup_django

    setup_django()
    from django.db import DatabaseError

    from millwright.catalog.models import TemplateVersion
    from millwright.inventory.models import Cell, Site

    try:
        site = Site.objects.first()
        cells = list(Cell.objects.all())
        # Images of templates have no machine that owns them; their names bear the hash of what we built.
        images = tuple(
            f"{image['name']}-"
            for image in TemplateVersion.objects.values_list("image", flat=True)
            if image
        )
    except DatabaseError as error:
        raise CliError(
            f"the database cannot be read, so it is not known what is ours: {error}"
        ) from None
    if site is None:
        raise CliError("this installation has no database: nothing in the pool is known to be ours")
    from millwright.hypervisor import HypervisorError
    from millwright.hypervisor.driver import HostAddress, LibvirtHypervisor

    host = LibvirtHypervisor(HostAddress(name="pool", uri=uri), site=str(site.pk))
    try:
        domains = [
            row for row in host.bulk_state() if row.metadata and row.metadata.site == str(site.pk)
        ]
        volumes = [
            row
            for pool in _pools(host)
            for row in host.list_volumes(pool)
            if (row.owner and row.owner.site == str(site.pk)) or row.name.startswith(images)
        ]
        for domain in domains:
            click.echo(f"{'remove' if yes else 'would remove'} guest {domain.name} ({domain.uuid})")
        for volume in volumes:
            click.echo(f"{'remove' if yes else 'would remove'} volume {volume.pool}/{volume.name}")
        for cell in cells:
            click.echo(f"{'remove' if yes else 'would remove'} network {cell.network_name}")
        if not yes:
            return False
        for domain in domains:
            host.destroy(domain.uuid)
            host.undefine(domain.uuid)
            host.remove_filter(f"mw-{domain.uuid.hex}")
        for volume in volumes:
            host.remove_volume(volume.pool, volume.name)
        for cell in cells:
            host.remove_network(cell.network_name)
    except HypervisorError as error:
        raise CliError(f"{uri}: {error}") from None
    finally:
        host.close()
    return True


def _pools(host: Hypervisor) -> list[str]:
    """Pools of folders, in which disks of ours may lie; the usual one where the host does not tell."""
    told = host.equipment().pools
    if told is None:
        return ["default"]
    return [pool.name for pool in told if pool.active and pool.kind == "dir"]
