"""What a stage is: a pure function of its key."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# In pipeline order; ``harness run --until`` names one of them.
STAGES = ("source", "weights", "contexts", "fit", "generate", "align", "train", "protocol", "evaluate")


@dataclass(frozen=True)
class StageSpec:
    """One stage of a suite's graph: everything a worker needs to build its artifact.

    Attributes:
        kind: which work it is, and the folder its artifact lies in: ``source``, ``weights``, ``contexts``, ``fit``,
            ``generate``, ``align``, ``train``, ``protocol`` or ``evaluate``.
        key: what its result depends on, digested.
        label: what a person calls it.
        component, target: the component's name in the suite and its import string; empty for weights.
        settings: the component's resolved settings.
        seed: drives everything random in it.
        parents: (kind, key) of the artifacts it reads, by role.
        options: further values that its result depends on.
        local: where things are on this machine; not in the key.
    """

    kind: str
    key: str
    label: str
    component: str = ""
    target: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    parents: dict[str, tuple[str, str]] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    local: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> tuple[str, str]:
        """(kind, key), which names the artifact."""
        return self.kind, self.key
