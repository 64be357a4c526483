"""IDiff-Face: identity-conditioned latent diffusion with contextual partial dropout."""
