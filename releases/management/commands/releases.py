"""`manage.py releases`: the registry in the shell."""

from releases.builds import build_manifest
from releases.deployments import operations
from releases.deployments.reconciler import reconcile
from releases.json_command import Answer, JsonCommand
from releases.models import Activation, Release
from releases.presenters import activation_facts, release_facts
from releases.production import app, database

LISTED = 50


class Command(JsonCommand):
    help = "List releases, look at one, verify its build, restore its database. May run twice."

    def add_arguments(self, parser):
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="list|get|verify|…")
        verbs.add_parser("list", help="the newest releases, the live one marked")
        for verb, text in (
            ("get", "one release and its activations"),
            ("verify", "compare a build with its checksums"),
            ("restore", "put production's database back to the release's restore point"),
        ):
            one = verbs.add_parser(verb, help=text)
            one.add_argument("release_id")
            if verb == "restore":
                one.add_argument("--yes", action="store_true", help="without asking")
        mend = verbs.add_parser("reconcile", help="mend what differs from the registry")
        mend.add_argument("--dry-run", action="store_true")

    def answer(self, *, verb, release_id="", **options) -> Answer:
        return getattr(self, f"on_{verb}")(release_id, **options)

    def on_list(self, release_id, **options) -> Answer:
        found = list(Release.objects.all()[:LISTED])
        for release in found:
            at = release.activated_at or release.built_at or release.created_at
            mark = "*" if release.status == "live" else " "
            self.say(f"{mark} {release.pk}  {release.status:<8}  {at:%Y-%m-%d %H:%M:%S}")
        return Answer({"releases": [release_facts(release) for release in found]})

    def on_get(self, release_id, **options) -> Answer:
        release = operations.known(release_id)
        history = Activation.objects.filter(release=release)
        return Answer(
            {
                "release": release_facts(release),
                "activations": [activation_facts(one) for one in history],
            }
        )

    def on_verify(self, release_id, **options) -> Answer:
        release = operations.known(release_id)
        build_manifest.verify(app.folder(self.config, release.pk), release.checksum)
        return Answer({"release_id": release.pk, "intact": True})

    def on_restore(self, release_id, *, yes, **options) -> Answer:
        release = operations.known(release_id)
        if not release.restore_point:
            return Answer.refused("restore_point_missing", f"{release} has no restore point.")
        detail = f"Put the production database back to before {release}; what came since is lost."
        if not yes and not self.confirms(detail):
            return Answer.refused("not_confirmed", f"{detail} Say --yes.")
        database.restore(self.config, release)
        return Answer({"release_id": release.pk, "restored": release.restore_point})

    def on_reconcile(self, release_id, *, dry_run, **options) -> Answer:
        told = reconcile(self.config, dry_run)
        for text in told:
            self.say(text)
        return Answer({"mended": told, "dry_run": dry_run})
