import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("environments", "0018_traits"),
        ("inventory", "0002_search"),
    ]

    operations = [
        migrations.AddField(
            model_name="host",
            name="equipment",
            field=models.JSONField(default=None, null=True),
        ),
        migrations.CreateModel(
            name="DeviceClaim",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("address", models.CharField(max_length=12)),
                (
                    "operation",
                    models.UUIDField(help_text="the operation that claimed it"),
                ),
                ("claimed_at", models.DateTimeField(auto_now_add=True)),
                (
                    "host",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="device_claims",
                        to="inventory.host",
                    ),
                ),
                (
                    "machine",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="device_claims",
                        to="environments.machine",
                    ),
                ),
            ],
            options={
                "ordering": ("host", "address"),
                "constraints": [
                    models.UniqueConstraint(fields=("host", "address"), name="device_claimed_once")
                ],
            },
        ),
    ]
