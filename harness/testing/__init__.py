"""What plugin authors use in their tests: the contract checks, and the smallest generator there is.

``harness.testing.contract`` holds one check per kind of component; ``harness.testing.toy`` is an example to read.
"""
