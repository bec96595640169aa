from django.db import migrations, models


class Migration(migrations.Migration):
    """What all machines used lately is found without reading every sample."""

    dependencies = (("environments", "0019_disruption"),)

    operations = (
        migrations.AddIndex(
            model_name="demandsample",
            index=models.Index(fields=["at"], name="demand_at"),
        ),
    )
