"""`manage.py push`: pushes the target branch with the configured credentials."""

from core.audit_trail import Entry, append_entry
from releases.json_command import CommandResult, JsonCommand
from releases.shell import get_shell_actor
from runs.lifecycle.pushing import push_target_branch


class Command(JsonCommand):
    help = (
        "Push the target branch to the remote, fast-forward only, as the push mode auto does. "
        "May run twice."
    )

    def add_arguments(self, parser):
        parser.add_argument("--dry-run", action="store_true", help="only ask the remote")
        parser.add_argument("--commit", default="", help="with --dry-run: this full commit id")

    def run_command(self, *, dry_run, commit, **options) -> CommandResult:
        result = push_target_branch(
            self.config, actor=get_shell_actor(), dry_run=dry_run, commit=commit
        )
        append_entry(Entry("command", get_shell_actor(), target=result.branch, detail=str(result)))
        self.write_message(str(result))
        return CommandResult(
            {
                "commit_sha": result.commit,
                "branch": result.branch,
                "remote": result.remote,
                "dry_run": result.dry_run,
                "already_there": result.already_there,
            }
        )
