"""FR training: heads, backbones, recipes, schedules, augmentation, and how a dataset reaches the network."""
