"""The audit trail's search."""

from django.db import migrations

from millwright.settings.search_indexes import contains, search_indexes

INDEXES = {
    "audit_words": contains("audit_auditentry", "actor_name", "action", "object_name", "reason"),
}


class Migration(migrations.Migration):
    dependencies = [("audit", "0002_append_only")]
    operations = [
        migrations.RunPython(*search_indexes(INDEXES)),
    ]
