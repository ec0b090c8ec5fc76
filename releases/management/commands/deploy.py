"""`manage.py deploy`: a commit of the control plane's repository, built and made live."""

from releases.deployments.manual_deploy import ship_commit
from releases.json_command import Answer, JsonCommand, shell_actor


class Command(JsonCommand):
    help = "Build a commit or branch and make it live. May run twice: what is live already stays."

    def add_arguments(self, parser):
        parser.add_argument("commit", help="a full commit id or a branch")
        parser.add_argument("--reason", default="", help="asked for on a terminal")

    def answer(self, *, commit, reason, **options) -> Answer:
        actor = shell_actor()
        reason = reason or self.asks("Why? ") or f"shell by {actor}"
        release, activation = ship_commit(
            self.config, commit, actor=actor, reason=reason, progress=self.say
        )
        facts = {"release_id": release.pk, "commit_sha": release.commit_sha}
        if activation is None:
            return Answer({**facts, "reason": "ALREADY_LIVE"})
        return Answer({**facts, "seconds": round(activation.seconds or 0.0, 3)})
