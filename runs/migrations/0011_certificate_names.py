"""Remember which labels were allowed a certificate."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0010_awaited_checks"),
    ]

    operations = [
        migrations.CreateModel(
            name="CertificateName",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("label", models.CharField(max_length=63, unique=True)),
                ("allowed_at", models.DateTimeField(db_index=True)),
            ],
            options={
                "ordering": ["-id"],
            },
        ),
    ]
