from django.db import migrations, models


class Migration(migrations.Migration):
    """Several machines may have an instance of one card. The release before leaves the profile to the database."""

    dependencies = (("inventory", "0005_disks_set_aside"),)

    operations = (
        migrations.AddField(
            "deviceclaim",
            "profile",
            models.CharField(max_length=64, blank=True, default="", db_default=""),
        ),
        migrations.RemoveConstraint("deviceclaim", "device_claimed_once"),
        migrations.AddConstraint(
            "deviceclaim",
            models.UniqueConstraint(
                fields=("host", "address"),
                condition=models.Q(profile=""),
                name="device_claimed_once",
            ),
        ),
    )
