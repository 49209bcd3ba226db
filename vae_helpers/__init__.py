"""The thin package behind the notebooks: read any module in a few minutes.

One loss convention everywhere: nats per image (sum over pixels and latents, mean over images).
Networks return logits; probabilities appear where a picture is drawn.
"""
