"""Checks of a module of hand-written SQL against the schema and against the enums of states."""

import ast
import inspect
import re

from django.db import transaction

from core.prepared_statements import fetch
from runs.rules import Status, StepStatus
from slots.rules import LeaseState

PARAMETER = re.compile(r"%\((\w+)\)s")
STATES = {str(value) for enum in (Status, StepStatus, LeaseState) for value in enum}


def list_statements(module):
    """Return the module's whole statements by name: its public constants that begin as SQL does."""
    public = {name: text for name, text in vars(module).items() if re.match(r"[A-Z]", name)}
    return {
        name: text
        for name, text in public.items()
        if isinstance(text, str) and re.match(r"\s*(WITH|SELECT|UPDATE)\b", text)
    }


def explain(statement):
    """Plan the statement with NULL for each parameter; PostgreSQL refuses unknown columns."""
    values = dict.fromkeys(PARAMETER.findall(statement))
    with transaction.atomic():
        [plan] = fetch(f"EXPLAIN {statement}", **values)
    return plan


def find_written_states(module):
    """Return the quoted states in the source of the module, which must come from the enums."""
    constants = [
        node.value
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return STATES & {word for text in constants for word in re.findall(r"'(\w+)'", text)}


def find_untyped_parameters(statement):
    """Return the parameters without a cast: PostgreSQL would have to guess their types."""
    return [name for name in PARAMETER.findall(statement) if f"%({name})s::" not in statement]
