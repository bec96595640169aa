from django.db import migrations

from millwright.audit.triggers import forbid_changes


class Migration(migrations.Migration):
    dependencies = [("environments", "0002_initial")]
    operations = [migrations.RunPython(*forbid_changes("environments_statetransition"))]
