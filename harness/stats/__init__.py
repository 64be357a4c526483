"""Statistics of scores and their uncertainty: pure functions of arrays."""
