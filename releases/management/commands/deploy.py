"""`manage.py deploy`: builds a commit of the control plane's repository and deploys it."""

from core.audit_trail import Entry, append_entry
from releases.deployments.deploy_commit import deploy_commit
from releases.json_command import CommandResult, JsonCommand
from releases.shell import get_shell_actor


class Command(JsonCommand):
    help = (
        "Build a commit or branch and make it live. May run twice: a commit that is live already "
        "is not deployed again."
    )

    def add_arguments(self, parser):
        parser.add_argument("commit", help="a full commit id or a branch")
        parser.add_argument("--reason", default="", help="asked for on a terminal")

    def run_command(self, *, commit, reason, **options) -> CommandResult:
        actor = get_shell_actor()
        reason = reason or self.prompt("Reason: ") or f"shell by {actor}"
        release, deployment = deploy_commit(
            self.config, commit, actor=actor, reason=reason, progress=self.write_message
        )
        append_entry(Entry("command", actor, target=release.pk, reason=reason, detail="deploy"))
        fields = {"release_id": release.pk, "commit_sha": release.commit_sha}
        if deployment is None:
            return CommandResult({**fields, "reason": "ALREADY_LIVE"})
        return CommandResult({**fields, "seconds": round(deployment.seconds or 0.0, 3)})
