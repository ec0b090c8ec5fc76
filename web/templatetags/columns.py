"""Columns of the admin's lists in the style of the filters.

Apart from these, which the worker loads too, where there is no admin.
"""

from functools import cache
from typing import Any

from django.contrib.admin import display
from django.db.models import DateTimeField, Model
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from web.templatetags.presentation import ago, person

# The fields in lists that have the name of who did something.
PEOPLE = ("actor", "author", "created_by", "lifted_by")


@cache  # Django compares columns by identity
def make_age_column(model: type[Model], name: Any) -> Any:
    """Return the column of a list of the admin that shows a time as `ago` does.

    A column that is not a time is returned as it is.
    """
    times = {one.name: one for one in model._meta.fields if isinstance(one, DateTimeField)}
    if name not in times:
        return name
    title = capfirst(str(times[name].verbose_name))

    @display(description=title, ordering=name, empty_value="–")
    def column(row: Model) -> SafeString | None:
        return ago(getattr(row, name)) or None

    column.__name__ = name  # of which Django makes the cell's class
    return column


@cache
def make_person_column(model: type[Model], name: Any) -> Any:
    """Return the column of a list of the admin that shows a person as `person` does.

    A column that is not a field of people is returned as it is.
    """
    people = {one.name: one for one in model._meta.fields if one.name in PEOPLE}
    if name not in people:
        return name
    title = capfirst(str(people[name].verbose_name))

    @display(description=title, ordering=name, empty_value="–")
    def column(row: Model) -> SafeString | None:
        return person(getattr(row, name)) or None

    column.__name__ = name
    return column
