"""How the denoiser is trained and drawn from: rectified flow, its samplers, and videos of any length."""
