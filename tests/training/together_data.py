"""What several processes train, and one beside them: 200 steps and more, in batches that two do not divide."""

from jaxae import AUTOENCODER, CONDITIONAL_VAE, load
from jaxae.data.dataset import Dataset, Split

_DIGITS = load("digits")
# 70 examples: four batches of 15 and a smaller one of 10, of which the last of four processes has nothing.
DATA = Dataset("digits", Split(*(a[:70] for a in _DIGITS.train)), Split(*(a[:20] for a in _DIGITS.test)), 10)
AE = AUTOENCODER.replace(epochs=41, batch_size=15, hidden=(7,), dtype="float64", warmup_steps=5, ema_decay=0.97)
VAE = CONDITIONAL_VAE.replace(epochs=41, batch_size=15, num_latent=3, dtype="float64", binarize=True)
REPLAY = AUTOENCODER.replace(epochs=2, batch_size=15, hidden=(7,), dtype="float64", replay="torch")
