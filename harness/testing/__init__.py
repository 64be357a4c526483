"""What plugin authors use in their tests, and the smallest generator there is."""
