"""Networks of the FR literature as torch modules; ``harness.builtin`` makes recognizers of them."""
