"""Good arguments for every public function that computes, trains or loads; see test_fuzz.py."""

import tempfile
from pathlib import Path

from vae_helpers import (
    data,
    disentanglement,
    hierarchical,
    losses,
    metrics,
    models,
    networks,
    training,
)

import torch
from small import small_autoencoder, small_conditional, small_images, small_vae, write_mnist
from torch import nn

FOLDER = Path(tempfile.mkdtemp(prefix="vae-fuzz-"))
X, Y = small_images(4), torch.arange(4)
CODES, FACTORS = torch.randn(20, 3), torch.rand(20, 2)
VAE, CONDITIONAL, AUTOENCODER = small_vae(), small_conditional(), small_autoencoder()
DEEP = hierarchical.HierarchicalVAE((2, 3), 8)
PRIOR = torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))
CLASSIFIER = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
SIZE = (1, 28, 28)
training.save_checkpoint(FOLDER / "saved.pt", VAE)
write_mnist(FOLDER)


def codes():
    return {"mu": torch.randn(4, 2), "logvar": torch.zeros(4, 2)}


def layer_codes(n=4, d=2):
    return torch.randn(n, d)


def fit(**arguments):
    return training.fit(small_vae(), quiet=True, **arguments)


def distance(distribution):
    """The parameters of a distribution, which the test looks through for NaN."""
    return distribution.mean, distribution.stddev


# name: (function, good arguments, made anew for each call)
CASES = {
    "losses.kl_divergence": (losses.kl_divergence, codes),
    "losses.bernoulli_nll": (losses.bernoulli_nll, lambda: {"logits": X.clone(), "x": X}),
    "losses.gaussian_nll": (
        losses.gaussian_nll, lambda: {"mean": X.clone(), "x": X, "sigma": 1.0},
    ),
    "losses.LearnedGaussian": (losses.LearnedGaussian, lambda: {"start": torch.tensor(0.3)}),
    "losses.LearnedGaussian.forward": (
        losses.LearnedGaussian(torch.tensor(0.3)).forward, lambda: {"logits": X.clone(), "x": X},
    ),
    "losses.negative_elbo": (
        losses.negative_elbo, lambda: {"model": VAE, "x": X, "beta": 1.0},
    ),
    "losses.reconstruction_loss": (
        losses.reconstruction_loss, lambda: {"model": AUTOENCODER, "x": X},
    ),
    "losses.linear_warmup": (losses.linear_warmup, lambda: {"progress": 0.3, "share": 0.5}),
    "losses.cyclical": (losses.cyclical, lambda: {"progress": 0.3, "cycles": 2, "share": 0.5}),
    "models.reparameterize": (models.reparameterize, codes),
    "models.VAE": (
        models.VAE,
        lambda: {
            "encoder": VAE.encoder, "decoder": VAE.decoder, "nll": losses.bernoulli_nll,
            "image_shape": SIZE,
        },
    ),
    "models.VAE.encode": (VAE.encode, lambda: {"x": X}),
    "models.VAE.reparameterize": (VAE.reparameterize, codes),
    "models.VAE.decode_logits": (VAE.decode_logits, lambda: {"z": layer_codes()}),
    "models.VAE.decode": (VAE.decode, lambda: {"z": layer_codes()}),
    "models.VAE.forward": (VAE.forward, lambda: {"x": X}),
    "models.VAE.sample": (VAE.sample, lambda: {"n": 2}),
    "models.Autoencoder": (
        models.Autoencoder,
        lambda: {
            "encoder": AUTOENCODER.encoder, "decoder": AUTOENCODER.decoder,
            "nll": losses.bernoulli_nll, "image_shape": SIZE,
        },
    ),
    "models.Autoencoder.encode": (AUTOENCODER.encode, lambda: {"x": X}),
    "models.Autoencoder.decode_logits": (AUTOENCODER.decode_logits, lambda: {"z": layer_codes()}),
    "models.Autoencoder.decode": (AUTOENCODER.decode, lambda: {"z": layer_codes()}),
    "models.Autoencoder.forward": (AUTOENCODER.forward, lambda: {"x": X}),
    "models.ConditionalVAE": (
        models.ConditionalVAE,
        lambda: {
            "encoder": CONDITIONAL.encoder, "decoder": CONDITIONAL.decoder, "classes": 10,
            "nll": losses.bernoulli_nll, "image_shape": SIZE,
        },
    ),
    "models.ConditionalVAE.encode": (CONDITIONAL.encode, lambda: {"x": X, "y": Y}),
    "models.ConditionalVAE.decode_logits": (
        CONDITIONAL.decode_logits, lambda: {"z": layer_codes(), "y": Y},
    ),
    "models.ConditionalVAE.decode": (CONDITIONAL.decode, lambda: {"z": layer_codes(), "y": Y}),
    "models.ConditionalVAE.forward": (CONDITIONAL.forward, lambda: {"x": X, "y": Y}),
    "models.ConditionalVAE.sample": (CONDITIONAL.sample, lambda: {"y": Y}),
    "hierarchical.as_normal": (
        lambda numbers: distance(hierarchical.as_normal(numbers)),
        lambda: {"numbers": torch.randn(4, 6)},
    ),
    "hierarchical.perceptron": (
        hierarchical.perceptron, lambda: {"inputs": 3, "hidden": 4, "outputs": 2},
    ),
    "hierarchical.HierarchicalVAE": (
        hierarchical.HierarchicalVAE,
        lambda: {
            "latents": (2, 3), "hidden": 4, "nll": losses.bernoulli_nll, "image_shape": SIZE,
        },
    ),
    "hierarchical.HierarchicalVAE.prior": (
        lambda layer, above: distance(DEEP.prior(layer, above)),
        lambda: {"layer": 1, "above": layer_codes(4, 3)},
    ),
    "hierarchical.HierarchicalVAE.infer": (
        lambda x: [(z, distance(q), distance(p)) for z, q, p in DEEP.infer(x)], lambda: {"x": X},
    ),
    "hierarchical.HierarchicalVAE.forward": (DEEP.forward, lambda: {"x": X}),
    "hierarchical.HierarchicalVAE.sample": (
        DEEP.sample, lambda: {"n": 2, "fixed": {1: layer_codes(2, 2)}},
    ),
    "networks.mlp_encoder": (
        networks.mlp_encoder, lambda: {"outputs": 4, "hidden": (8,), "image_shape": SIZE},
    ),
    "networks.mlp_decoder": (
        networks.mlp_decoder, lambda: {"latent_dim": 4, "hidden": (8,), "image_shape": SIZE},
    ),
    "networks.conv_encoder": (
        networks.conv_encoder,
        lambda: {"outputs": 4, "channels": (2, 3), "hidden": (8,), "image_shape": SIZE},
    ),
    "networks.conv_decoder": (
        networks.conv_decoder,
        lambda: {"latent_dim": 4, "channels": (2, 3), "hidden": (8,), "image_shape": SIZE},
    ),
    "networks.conv_size": (
        networks.conv_size, lambda: {"n": 28, "kernel": 4, "stride": 2, "padding": 1},
    ),
    "networks.transposed_conv_size": (
        networks.transposed_conv_size,
        lambda: {"n": 7, "kernel": 4, "stride": 2, "padding": 1, "output_padding": 0},
    ),
    "metrics.log_likelihood": (
        metrics.log_likelihood,
        lambda: {"model": VAE, "x": X, "samples": 3, "chunk": 10, "seed": 0, "prior": PRIOR},
    ),
    "metrics.log_likelihood, labels": (
        metrics.log_likelihood,
        lambda: {"model": CONDITIONAL, "x": X, "samples": 3, "labels": Y},
    ),
    "metrics.active_units": (
        metrics.active_units, lambda: {"model": VAE, "x": X, "threshold": 0.01},
    ),
    "metrics.encode_means": (
        metrics.encode_means, lambda: {"model": VAE, "x": X, "batch_size": 2},
    ),
    "metrics.classify": (
        metrics.classify, lambda: {"classifier": CLASSIFIER, "images": X, "batch_size": 2},
    ),
    "metrics.accuracy": (
        metrics.accuracy, lambda: {"classifier": CLASSIFIER, "images": X, "labels": Y},
    ),
    "metrics.train_classifier": (
        metrics.train_classifier,
        lambda: {"images": X, "labels": Y, "epochs": 1, "seed": 0, "device": "cpu"},
    ),
    "training.pick_device": (training.pick_device, lambda: {"device": "cpu"}),
    "training.choose_profile": (
        training.choose_profile, lambda: {"name": "smoke", "smoke": {"a": 1}, "laptop": {"a": 2}},
    ),
    "training.fit": (
        fit,
        lambda: {
            "train": X, "validation": X, "loss": losses.negative_elbo, "epochs": 1,
            "batch_size": 2, "lr": 1e-3, "clip": 1.0, "beta": losses.linear_warmup,
            "measure": lambda model: {"a": 1.0}, "seed": 0, "device": "cpu",
        },
    ),
    "training.fit, checkpoint": (
        lambda **given: fit(train=X, epochs=1, batch_size=4, **given),
        lambda: {"checkpoint": FOLDER / tempfile.mktemp(dir=""), "config": {"width": 1}},
    ),
    "training.fit, model": (
        lambda model: training.fit(model, X, epochs=1, quiet=True), lambda: {"model": small_vae()},
    ),
    "training.evaluation": (
        lambda model, seed: training.evaluation(model, seed).__enter__(),
        lambda: {"model": small_vae(), "seed": 0},
    ),
    "training.per_image": (
        training.per_image,
        lambda: {
            "model": VAE, "data": X, "loss": losses.negative_elbo, "batch_size": 2, "seed": 0,
        },
    ),
    "training.evaluate": (
        training.evaluate,
        lambda: {
            "model": VAE, "data": X, "loss": losses.negative_elbo, "batch_size": 2, "seed": 0,
        },
    ),
    "training.save_checkpoint": (
        training.save_checkpoint, lambda: {"path": FOLDER / "a.pt", "model": VAE},
    ),
    "training.load_checkpoint": (
        training.load_checkpoint, lambda: {"path": FOLDER / "saved.pt", "model": small_vae()},
    ),
    "data.load_images": (data.load_images, lambda: {"name": "mnist-folder", "root": FOLDER}),
    "data.data_folder": (data.data_folder, lambda: {"root": FOLDER}),
    "data.binarize": (data.binarize, lambda: {"x": X, "generator": torch.Generator()}),
    "data.to_float": (lambda x: data.to_float(x).dtype, lambda: {"x": X}),
    "disentanglement.mutual_information_gap": (
        disentanglement.mutual_information_gap,
        lambda: {"codes": CODES, "factors": FACTORS, "bins": 5},
    ),
    "disentanglement.to_bins": (
        disentanglement.to_bins, lambda: {"values": CODES[:, 0], "bins": 5},
    ),
    "disentanglement.dci_disentanglement": (
        disentanglement.dci_disentanglement,
        lambda: {"codes": CODES, "factors": FACTORS, "seed": 0},
    ),
}  # fmt: skip
