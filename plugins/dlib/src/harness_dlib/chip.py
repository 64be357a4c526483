"""``dlib-chip``: the crop that dlib's network was trained on, 150 px with a quarter of padding on every side.

dlib fits a chip to 68 landmarks, or to five of its own: the corners of both eyes and the base of the nose. Aligners
here give the five landmarks of the field, so the crop is the least-squares fit of these to where they lie in dlib's
chips, as measured: the medians of MTCNN's landmarks in the chips that dlib makes by its own five, over 159 photographs
of LFW's development set. The corresponding points of dlib's mean face shape lie up to 2.1 px from them; the plugin's
README has what the difference costs.
"""

from __future__ import annotations

from harness import CropTemplate
from harness_dlib.resnet import SIZE_PX

CHIP = CropTemplate(((48.1, 46.3), (101.9, 46.2), (75.0, 78.1), (50.8, 104.6), (98.9, 104.3)), SIZE_PX)
