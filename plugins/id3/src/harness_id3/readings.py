"""Names of the readings where the paper can be read in two ways. Light: settings are checked before torch loads."""

from __future__ import annotations

from typing import Literal

WeightReading = Literal["falling", "rising"]
"""Of c_t, see :func:`harness_id3.loss.identity_weight`."""

Projection = Literal["then-linear", "as-tokens"]
"""Of the attribute projection's last layer, see :class:`harness_id3.network.AttributeTokens`."""
