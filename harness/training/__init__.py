"""FR training: heads, backbones, schedules, recipes, the choice of the epoch, and the one loop that runs them."""
