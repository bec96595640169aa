"""Newest requests, the inbox, one's own; search by a part of a name and by the beginning of a MAC address."""

from django.db import migrations, models

from millwright.settings.search_indexes import begins, contains, search_indexes

INDEXES = {
    "environment_words": contains("environments_environment", "name"),
    "request_words": contains("environments_request", "name"),
    "machine_mac_begins": begins("environments_machine", "mac"),
}


class Migration(migrations.Migration):
    dependencies = [("environments", "0010_entitlements")]
    operations = [
        migrations.AddIndex(
            model_name="request",
            index=models.Index(fields=["-created_at"], name="request_newest"),
        ),
        migrations.AddIndex(
            model_name="request",
            index=models.Index(fields=["requester", "-created_at"], name="request_own"),
        ),
        migrations.AddIndex(
            model_name="request",
            index=models.Index(fields=["state", "submitted_at"], name="request_waiting"),
        ),
        migrations.RunPython(*search_indexes(INDEXES)),
    ]
