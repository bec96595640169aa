"""Machines are found by the beginning of their address."""

from django.db import migrations

from millwright.settings.search_indexes import address_begins, search_indexes

INDEXES = {
    "address_claim_begins": address_begins("inventory_addressclaim", "address"),
}


class Migration(migrations.Migration):
    dependencies = [("inventory", "0001_initial")]
    operations = [
        migrations.RunPython(*search_indexes(INDEXES)),
    ]
