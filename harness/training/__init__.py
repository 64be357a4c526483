"""FR training: heads, backbones, recipes, schedules, augmentation, choice of the epoch, and the one loop that runs them."""
