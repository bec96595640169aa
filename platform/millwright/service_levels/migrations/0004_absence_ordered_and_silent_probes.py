from django.db import migrations, models

from millwright.audit.triggers import forbid_changes


def again(apps, editor):
    """SQLite makes a changed table anew, without its triggers."""
    if editor.connection.vendor == "sqlite":
        forwards, backwards = forbid_changes("service_levels_absence")
        backwards(apps, editor)
        forwards(apps, editor)


class Migration(migrations.Migration):
    dependencies = [
        ("service_levels", "0003_append_only"),
    ]

    operations = [
        migrations.AddField(
            model_name="absence",
            name="ordered",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="ledgercursor",
            name="stopped_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="probestate",
            name="said_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="probestate",
            name="stale",
            field=models.BooleanField(default=False),
        ),
        migrations.RunPython(again, migrations.RunPython.noop),
    ]
