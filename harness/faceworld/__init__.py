"""The face world: procedural face images with exact identity, pose, age and landmarks.

It stands in for licensed face data on a fresh machine. Importing this package, ``ranges`` or ``protocols`` does not
load torch; ``harness.faceworld.render`` does.
"""

RENDERER_VERSION = 1
"""Part of every protocol digest. Raise it with any change that moves a pixel."""
