"""Face sets on disk, crops and their reference landmarks, image coding."""
