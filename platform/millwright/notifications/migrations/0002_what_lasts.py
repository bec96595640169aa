from django.db import migrations, models


class Migration(migrations.Migration):
    """What lasts and was told of once."""

    dependencies = (("notifications", "0001_initial"),)

    operations = (
        migrations.CreateModel(
            "Standing",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("key", models.CharField(max_length=120, unique=True)),
                ("since", models.DateTimeField()),
                ("told_at", models.DateTimeField(null=True)),
                ("gone_at", models.DateTimeField(null=True)),
            ],
            options={"ordering": ("since", "pk")},
        ),
    )
