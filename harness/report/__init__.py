"""Pages for a browser: the report of a board and the comparison of two rows, each one file that needs nothing else."""
