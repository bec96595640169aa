from django.db import migrations, models

from millwright.audit.triggers import forbid_changes
from millwright.service_levels.words import code_of

ALLOW, FORBID = forbid_changes("service_levels_interval")[::-1]


def explain(apps, editor):
    """Rows of before have their event in words alone."""
    rows = apps.get_model("service_levels", "Interval").objects.using(editor.connection.alias)
    found = {}
    for pk, kind, cause, why, host in (
        rows.filter(kind="down", cause="unplanned")
        .values_list("pk", "kind", "cause", "why", "host")
        .iterator(chunk_size=10_000)
    ):
        if code := code_of(kind, cause, why, host):
            found.setdefault(code, []).append(pk)
    for code, keys in found.items():
        for begin in range(0, len(keys), 500):
            rows.filter(pk__in=keys[begin : begin + 500]).update(explained_by=code)


class Migration(migrations.Migration):
    dependencies = [("service_levels", "0006_qualities")]

    operations = [
        migrations.RunPython(ALLOW, FORBID),
        migrations.AddField(
            model_name="interval",
            name="explained_by",
            field=models.CharField(
                blank=True,
                choices=[
                    ("ordered_stop", "ordered stop"),
                    ("changeover", "changeover"),
                    ("move", "move"),
                    ("host", "host"),
                    ("crash", "crash"),
                ],
                default="",
                max_length=12,
            ),
            preserve_default=False,
        ),
        migrations.RunPython(explain, migrations.RunPython.noop),
        migrations.RunPython(FORBID, ALLOW),
    ]
