"""FR training: heads, backbones, recipes, schedules, augmentation, the choice of the epoch, and one loop for all."""
