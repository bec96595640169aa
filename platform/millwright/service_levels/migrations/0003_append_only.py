from django.db import migrations

from millwright.audit.triggers import forbid_changes

TABLES = ("contract", "interval", "supersession", "note", "cyclecount", "absence", "seal")


class Migration(migrations.Migration):
    dependencies = [("service_levels", "0002_ledger")]
    operations = [
        migrations.RunPython(*forbid_changes(f"service_levels_{table}")) for table in TABLES
    ]
