"""Files that other code wrote: checkpoints of the field's networks, turned into our weights files."""
