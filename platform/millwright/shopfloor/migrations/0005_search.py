"""Programs and devices are found by a part of their name, devices by the beginning of their address."""

from django.db import migrations

from millwright.settings.search_indexes import address_begins, contains, search_indexes

INDEXES = {
    "program_words": contains("shopfloor_program", "name"),
    "device_words": contains("shopfloor_device", "name"),
    "device_begins": address_begins("shopfloor_device", "address"),
}


class Migration(migrations.Migration):
    dependencies = [("shopfloor", "0004_device_word_order")]
    operations = [
        migrations.RunPython(*search_indexes(INDEXES)),
    ]
