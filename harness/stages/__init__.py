"""The work of the stages: one module per kind of stage, named as the kind is."""
