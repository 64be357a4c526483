"""Face sets on disk, crops and templates, image coding."""
