"""What plugin authors use in their tests: the contract checks, and the smallest generator there is.

``harness.testing.contract`` holds the checks: of any component, and of generators, sources and aligners;
``harness.testing.toy`` is an example to read.
"""
