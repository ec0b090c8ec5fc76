"""The command `sync_slots`: the rows follow OROBOROS_SLOTS."""

from dataclasses import replace

import pytest
from django.core.management import call_command

from slots.models import Slot
from tests.factories import LeaseFactory, SlotFactory


@pytest.fixture
def resize(settings, capsys, db):
    """Return a function that sets the number of slots and returns what the command prints."""

    def run(count):
        config = settings.OROBOROS
        settings.OROBOROS = replace(config, slots=config.slots[:count], slot_count=count)
        call_command("sync_slots")
        return capsys.readouterr().out

    return run


def drained():
    return list(Slot.objects.exclude(drained_at=None).values_list("slot_id", flat=True))


def test_more_slots_get_rows_and_fewer_are_drained_with_their_holders(resize, settings):
    config = settings.OROBOROS
    assert resize(1) == "made preview-1\n"
    settings.OROBOROS = config
    assert resize(3) == "made preview-2, preview-3\n"
    lease = LeaseFactory(held=True, slot=Slot.objects.get(slot_id="preview-3"))
    other = SlotFactory(host="another", number=9, slot_id="preview-9")
    assert resize(2) == "every slot has its row\ndrained: preview-3\n"
    assert resize(2) == "every slot has its row\n"
    assert drained() == ["preview-3"]
    lease.refresh_from_db()
    assert lease.state == "held"
    assert Slot.objects.get(slot_id="preview-3").drain_reason == "OROBOROS_SLOTS is 2"
    other.refresh_from_db()
    assert other.drained_at is None
    settings.OROBOROS = config
    assert resize(3) == "every slot has its row\ngranted again: preview-3\n"
    assert drained() == []


def test_a_slot_that_a_person_drained_stays_drained_when_the_number_grows(resize):
    resize(3)
    Slot.objects.get(slot_id="preview-2").drain(reason="disk", actor="ada")
    assert "granted again" not in resize(3)
    assert drained() == ["preview-2"]
