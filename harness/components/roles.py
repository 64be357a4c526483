"""The roles: what a component can ask for, and the words of the errors when a suite does not give it.

A component lists the roles it needs in ``needs``; the harness finds or makes what stands in each, and hands all of it
over in one :class:`harness.components.Given`.
"""

from __future__ import annotations

from typing import Literal, get_args

from harness.errors import InputError, unknown

Role = Literal[
    "source", "dataset", "recognizer", "judge", "contexts", "people", "model", "autoencoder", "pairs", "templates"
]
ROLES: tuple[Role, ...] = get_args(Role)

# What stands in each role, as the errors say it.
WORDS: dict[Role, str] = {
    "source": "the faces of a source",
    "dataset": "a dataset of aligned faces",
    "recognizer": "a recognizer",
    "judge": "a recognizer that judges",
    "contexts": "identity contexts",
    "people": "the people whose embeddings the identity contexts are",
    "model": "a fitted model",
    "autoencoder": "a model whose autoencoder it takes over",
    "pairs": "at least one protocol with pairs of faces",
    "templates": "at least one protocol with pairs of templates",
}


def check_roles(who: str, roles: frozenset[str]) -> None:
    """Refuse a role that is none.

    Raises:
        InputError: naming it, and the roles there are.
    """
    for role in sorted(roles):
        if role not in ROLES:
            raise InputError(f"{who}: needs {unknown('role', role, ROLES)}")


def missing(who: str, role: Role) -> str:
    """The text for a key that is not there although a component needs what it would name."""
    return f"this key is missing; {who} needs {WORDS[role]}"


def takes_none(who: str) -> str:
    """The text for a key that is there although the component has no use for it."""
    return f"{who} takes none; remove it"


def not_asked(role: str) -> str:
    """The text for a component that reads what it did not ask for."""
    return f"given.{role} was not asked for; add {role!r} to the component's needs"


def wrong_kind(kind: str, who: str, accepted: frozenset[str]) -> str:
    """The text for a model that a component cannot use."""
    return f"got a model of kind {kind!r}, {who} accepts {', '.join(sorted(accepted)) or 'none'}"
