import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("environments", "0017_retained"),
    ]

    operations = [
        migrations.CreateModel(
            name="StartedCpu",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("digest", models.CharField(max_length=64, unique=True)),
                ("accel", models.CharField(max_length=16)),
                ("model", models.CharField(blank=True, max_length=64)),
                ("passthrough", models.BooleanField(default=False)),
                ("features", models.JSONField(default=list)),
            ],
            options={"ordering": ("pk",)},
        ),
        migrations.AddField(
            model_name="machine",
            name="started_cpu",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="environments.startedcpu",
            ),
        ),
        migrations.AddField(
            model_name="machine",
            name="traits",
            field=models.JSONField(blank=True, default=dict),
        ),
    ]
