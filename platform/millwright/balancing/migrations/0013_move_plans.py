import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

STATES = [
    ("open", "waits for a person"),
    ("shadow", "noted only"),
    ("active", "under way"),
    ("done", "done"),
    ("given_up", "given up"),
    ("rejected", "rejected"),
    ("superseded", "no longer wanted"),
]


class Migration(migrations.Migration):
    dependencies = [
        ("balancing", "0012_calendar_as_it_was"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="MovePlan",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("text", models.TextField()),
                ("seconds", models.FloatField()),
                ("steps", models.JSONField(default=list)),
                (
                    "state",
                    models.CharField(choices=STATES, db_index=True, default="open", max_length=10),
                ),
                ("approved", models.BooleanField(default=False)),
                ("note", models.CharField(blank=True, max_length=1000)),
                ("progress_at", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "decided_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={"ordering": ("-created_at", "-pk")},
        ),
        migrations.AddField(
            model_name="recommendation",
            name="plan",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="moves",
                to="balancing.moveplan",
            ),
        ),
    ]
