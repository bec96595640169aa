from django.db import migrations, models


def parts() -> models.JSONField:
    # The release before does not name it: while it still runs, the database fills it.
    return models.JSONField(default=list, db_default=models.Value([], models.JSONField()))


class Migration(migrations.Migration):
    """Reasons and notes as codes and facts beside their English text, and the history's indexes."""

    dependencies = (("balancing", "0019_memory_of_pools"),)

    operations = (
        migrations.AddField("recommendation", "text_parts", parts()),
        migrations.AddField("recommendation", "note_parts", parts()),
        migrations.AddField("moveplan", "text_parts", parts()),
        migrations.AddField("moveplan", "note_parts", parts()),
        migrations.AddField("rollingdrain", "note_parts", parts()),
        *(
            migrations.AddIndex(
                "recommendation", models.Index(fields=(*first, "-created_at", "-id"), name=name)
            )
            for first, name in (
                ((), "move_when"),
                (("mode",), "move_mode_when"),
                (("state",), "move_state_when"),
                (("machine",), "move_machine_when"),
            )
        ),
    )
