"""`manage.py releases`: lists and verifies releases, restores their databases, reconciles."""

from releases.builds import build_manifest
from releases.builds.build_folders import build_folder
from releases.deployments.reconciler import reconcile
from releases.json_command import CommandResult, JsonCommand
from releases.models import Deployment, Release
from releases.presenters import present_deployment, present_release, summarize_release
from releases.production.restore_point import restore_database
from releases.rules import ReleaseStatus

LIST_LIMIT = 10


class Command(JsonCommand):
    help = "List, show and verify releases, or restore the database of one. May run twice."

    def add_arguments(self, parser):
        actions = parser.add_subparsers(dest="action", required=True, metavar="list|get|verify|…")
        subparser = actions.add_parser("list", help="the newest releases; * marks the live one")
        subparser.add_argument("--all", action="store_true", help="all releases, with all fields")
        for action, text in (
            ("get", "show a release and its deployments"),
            ("verify", "compare a build with its checksums"),
            ("restore", "restore production's database to the release's restore point"),
        ):
            subparser = actions.add_parser(action, help=text)
            subparser.add_argument("release_id")
            if action == "restore":
                subparser.add_argument("--yes", action="store_true", help="skip the confirmation")
        subparser = actions.add_parser("reconcile", help="repair what differs from the records")
        subparser.add_argument("--dry-run", action="store_true")

    def run_command(self, *, action, **options) -> CommandResult:
        return getattr(self, f"run_{action}")(**options)

    def run_list(self, **options) -> CommandResult:
        releases = list(Release.objects.listed()[: None if options["all"] else LIST_LIMIT])
        live = Release.objects.live()
        if live is not None and live not in releases:  # as after a rollback to an old one
            releases.append(live)
        for release in releases:
            at = release.activated_at or release.built_at or release.created_at
            mark = "*" if release.status == ReleaseStatus.LIVE else " "
            self.write_message(f"{mark} {release.pk}  {release.status:<8}  {at:%Y-%m-%d %H:%M:%S}")
        left_out = Release.objects.listed().count() - len(releases)
        if left_out:
            self.write_message(f"  and {left_out} older ones: list --all")
        present = present_release if options["all"] else summarize_release
        presented = [present(release) for release in releases]
        return CommandResult({"releases": presented, "left_out": left_out})

    def run_get(self, *, release_id, **options) -> CommandResult:
        release = Release.objects.require(release_id)
        deployments = Deployment.objects.filter(release=release)
        return CommandResult(
            {
                "release": present_release(release),
                "activations": [present_deployment(deployment) for deployment in deployments],
            }
        )

    def run_verify(self, *, release_id, **options) -> CommandResult:
        release = Release.objects.require(release_id)
        build_manifest.verify_build(build_folder(self.config, release.pk), release.checksum)
        return CommandResult({"release_id": release.pk, "intact": True})

    def run_restore(self, *, release_id, yes, **options) -> CommandResult:
        release = Release.objects.require(release_id)
        if not release.restore_point:
            return CommandResult.from_error(
                "restore_point_missing", f"{release} has no restore point."
            )
        question = (
            f"Restore production's database to its state before {release}? "
            "All later changes are lost."
        )
        if not yes and not self.confirm(question):
            return CommandResult.from_error("not_confirmed", f"{question} Confirm with --yes.")
        restore_database(self.config, release)
        return CommandResult({"release_id": release.pk, "restored": release.restore_point})

    def run_reconcile(self, *, dry_run, **options) -> CommandResult:
        repairs = reconcile(self.config, dry_run)
        for text in repairs:
            self.write_message(text)
        # The key is older than the word "repair"; scripts read it.
        return CommandResult({"mended": repairs, "dry_run": dry_run})
