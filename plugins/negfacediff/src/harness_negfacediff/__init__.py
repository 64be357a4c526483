"""NegFaceDiff: negative-context guidance for identity-conditioned diffusion."""
