from django.db import migrations

from millwright.audit.triggers import forbid_changes


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]
    operations = [migrations.RunPython(*forbid_changes("audit_auditentry"))]
