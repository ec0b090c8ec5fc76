"""GET /api/runs/<id>/mails: what the preview sent to its sink."""

from rest_framework import serializers
from rest_framework.generics import ListAPIView

from runs.api.runs import find_run
from runs.api.serializers import ArtifactSerializer
from runs.mail import messages
from runs.models import Artifact
from web.permissions import VIEW


class AttachmentSerializer(serializers.Serializer):
    name = serializers.CharField()
    content_type = serializers.CharField()
    size = serializers.IntegerField()


class MailSerializer(serializers.Serializer):
    """A message; `url` is that of its file, as it was received, with the envelope before it."""

    name = serializers.CharField()
    generation = serializers.IntegerField()
    received_at = serializers.DateTimeField()
    sender = serializers.CharField()
    recipients = serializers.ListField(child=serializers.CharField())
    subject = serializers.CharField()
    date = serializers.CharField()
    text = serializers.CharField()
    html = serializers.CharField()
    attachments = AttachmentSerializer(many=True)
    url = serializers.CharField()

    def to_representation(self, instance: Artifact) -> dict:
        mail = messages.read_mail(instance)
        fields = {name: getattr(mail, name) for name in ("sender", "recipients", "subject", "date")}
        row = {
            "name": instance.name,
            "generation": instance.generation,
            "received_at": instance.created_at,
            "url": ArtifactSerializer(instance).data["url"],
        }
        parts = {"text": mail.text, "html": mail.html, "attachments": mail.attachments}
        return super().to_representation({**row, **fields, **parts})


class MailListView(ListAPIView):
    """The messages that the run's preview sent, oldest first. None of them was delivered."""

    abilities = {"GET": VIEW}
    serializer_class = MailSerializer

    def get_queryset(self):
        # drf-spectacular calls this without the arguments of a URL.
        if getattr(self, "swagger_fake_view", False):
            return Artifact.objects.none()
        return messages.list_messages(find_run(self.request, self.kwargs["run_id"]))
