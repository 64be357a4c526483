"""The stage store: artifacts found by key, verified by content, built by workers."""
