"""The thin package behind the notebooks: read any module in a few minutes.

One loss convention everywhere: nats per image (sum over pixels and latents, mean over images).
Networks return logits; probabilities appear where a picture is drawn.
"""

import os

# Threads that wait for work shall sleep, not spin. On two cores with one other busy program (a
# browser, another notebook), spinning makes a training step about ten times slower. OpenMP reads
# this when torch is first imported, so vae_helpers is imported before torch everywhere.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from vae_helpers import advice  # after the variable is set

advice.register()
