"""Diffusion models for faces: schedule, U-Net, autoencoders, guidance, samplers, training."""
