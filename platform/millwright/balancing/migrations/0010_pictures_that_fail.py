from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("balancing", "0009_pictures"),
    ]

    operations = [
        migrations.AddField(
            model_name="picture",
            name="error",
            field=models.CharField(blank=True, max_length=300),
        ),
        migrations.AddField(
            model_name="picture",
            name="tried_at",
            field=models.DateTimeField(null=True),
        ),
    ]
