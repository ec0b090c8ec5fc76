"""Build the template database of the target branch."""

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from runs.pipelines import template_databases
from runs.repository import find_preview_base, open_repository


class Command(BaseCommand):
    help = (
        "Build the template database of the target branch, also after it could not be built: "
        "previews do not try that again for the same commit. May be repeated."
    )

    def handle(self, **options):
        config = settings.OROBOROS
        repo = open_repository(config)
        repo.fetch(config.git_remote_url)
        base = find_preview_base(repo, config.target_branch)
        template_databases.forget_failure(config, base)
        if reason := template_databases.build_current_template():
            raise CommandError(f"{config.target_branch} ({base[:12]}) has no database: {reason}")
        self.stdout.write(f"{config.target_branch} ({base[:12]}) has its template database")
