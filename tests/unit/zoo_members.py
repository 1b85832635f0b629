"""All members of the zoo, as parameters for tests."""

from __future__ import annotations

import pytest

import zoo
import zoo_compiled
import zoo_contexts
import zoo_convolutions
import zoo_functional
import zoo_hooks
import zoo_inputs
import zoo_layers
import zoo_modules
import zoo_numpy
import zoo_objects
import zoo_outputs
import zoo_rows
import zoo_sequences
import zoo_weights

# Each puts its members into the zoo when it is imported.
KINDS = (
    zoo_layers,
    zoo_convolutions,
    zoo_weights,
    zoo_sequences,
    zoo_compiled,
    zoo_functional,
    zoo_contexts,
    zoo_objects,
    zoo_modules,
    zoo_hooks,
    zoo_inputs,
    zoo_outputs,
    zoo_rows,
    zoo_numpy,
)
MEMBERS = zoo.MEMBERS


def members(condition):
    """Return a decorator that runs a test for each member that fulfils a condition."""
    chosen = [
        pytest.param(member, marks=member.marks, id=member.name.replace(" ", "-").replace(",", ""))
        for member in MEMBERS
        if condition(member)
    ]
    return pytest.mark.parametrize("member", chosen)
