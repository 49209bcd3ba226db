"""Bad input: the error names the argument and says what came and what was expected."""

import re

from vae_helpers.checks import brief
from vae_helpers.data import binarize, load_images
from vae_helpers.losses import bernoulli_nll, gaussian_nll, kl_divergence, negative_elbo
from vae_helpers.metrics import (
    accuracy,
    active_units,
    classify,
    encode_means,
    log_likelihood,
    train_classifier,
)
from vae_helpers.models import reparameterize
from vae_helpers.training import evaluate, fit, per_image
from vae_helpers.widgets import decode_png, latent_plane, latent_sliders

import pytest
import torch
from small import small_autoencoder, small_images, small_vae


def classifier():
    images, labels = small_images(20), torch.arange(20) % 10
    return train_classifier(images, labels, epochs=1, device="cpu")


# Everything that takes images, and what it calls them.
TAKES_IMAGES = {
    "VAE.encode": ("x", lambda x: small_vae().encode(x)),
    "VAE": ("x", lambda x: small_vae()(x)),
    "Autoencoder": ("x", lambda x: small_autoencoder()(x)),
    "negative_elbo": ("x", lambda x: negative_elbo(small_vae(), x)),
    "fit": ("x|train", lambda x: fit(small_vae(), x, epochs=1, quiet=True)),
    "fit, validation": (
        "x|validation",
        lambda x: fit(small_vae(), small_images(3), x, epochs=1, quiet=True),
    ),
    "evaluate": ("x|data", lambda x: evaluate(small_vae(), x)),
    "per_image": ("x|data", lambda x: per_image(small_vae(), x)),
    "log_likelihood": ("x", lambda x: log_likelihood(small_vae(), x, samples=2)),
    "active_units": ("x", lambda x: active_units(small_vae(), x)),
    "encode_means": ("x", lambda x: encode_means(small_vae(), x)),
    "classify": ("x|images", lambda x: classify(classifier(), x)),
    "accuracy": ("x|images", lambda x: accuracy(classifier(), x, torch.zeros(len(x)))),
    "train_classifier": (
        "x|train|images",
        lambda x: train_classifier(x, torch.zeros(len(x)).long(), epochs=1, device="cpu"),
    ),
    "latent_plane": ("x|images", lambda x: latent_plane(small_vae(), x, torch.zeros(len(x)))),
}
TAKES_BYTES_TOO = (
    "fit", "fit, validation", "evaluate", "per_image", "active_units", "encode_means",
)  # fmt: skip
TAKES_IMAGES_OF_ANY_SIZE = {
    "binarize": ("x", binarize),
    "bernoulli_nll": ("x", lambda x: bernoulli_nll(torch.zeros(x.shape), x)),
}


def changed(value):
    x = small_images(3)
    x[1, 0, 5, 7] = value
    return x


ANYWHERE = {
    "above 1": (lambda: changed(1.5), "has values from .* to 1.5; expected [0, 1]"),
    "grey values to 255": (lambda: changed(255.0), "has values from .* to 255; expected [0, 1]"),
    "below 0": (lambda: changed(-0.5), "has values from -0.5 to .*; expected [0, 1]"),
    "NaN": (lambda: changed(float("nan")), "has values .*nan.*; expected [0, 1], no NaN"),
    "infinite": (lambda: changed(float("inf")), "has values from .* to inf; expected [0, 1]"),
    "bytes": (lambda: small_images(3).byte(), "has dtype torch.uint8; expected floats in [0, 1]"),
    "whole numbers": (lambda: small_images(3).long(), "has dtype torch.int64; expected floats"),
    "booleans": (lambda: small_images(3) > 0.5, "has dtype torch.bool; expected floats"),
    "empty batch": (lambda: small_images(3)[:0], "is empty, shape (0, 1, 28, 28); expected at"),
    "no channel": (lambda: small_images(3)[:, 0], "has shape (3, 28, 28); expected (n, "),
    "flat": (lambda: small_images(3).flatten(1), "has shape (3, 784); expected (n, "),
}
WHERE_THE_SIZE_MATTERS = {
    "three channels": (
        lambda: small_images(3, (3, 28, 28)), "has shape (3, 3, 28, 28); expected (n, 1, 28, 28)",
    ),
    "larger": (
        lambda: small_images(3, (1, 32, 32)), "has shape (3, 1, 32, 32); expected (n, 1, 28, 28)",
    ),
    "channel last": (
        lambda: small_images(3).permute(0, 2, 3, 1),
        "has shape (3, 28, 28, 1); expected (n, 1, 28, 28)",
    ),
}  # fmt: skip
NO_TENSOR = {
    "an array": (lambda: small_images(3).numpy(), "is a ndarray; expected a torch.Tensor"),
    "a list": (lambda: [small_images(3)], "is a list; expected a torch.Tensor"),
}


def cases():
    every = {**TAKES_IMAGES, **TAKES_IMAGES_OF_ANY_SIZE}
    for functions, damages in (
        (every, ANYWHERE),
        (TAKES_IMAGES, {**WHERE_THE_SIZE_MATTERS, **NO_TENSOR}),
    ):
        for function, (names, call) in functions.items():
            for damage, (build, message) in damages.items():
                if damage == "bytes" and function in TAKES_BYTES_TOO:
                    continue
                yield pytest.param(call, names, build, message, id=f"{function}, {damage}")


def pattern(message):
    """A regular expression in which only `.*` is special."""
    return ".*".join(re.escape(part) for part in message.split(".*"))


@pytest.mark.parametrize("call, names, build, message", list(cases()))
def test_bad_images_are_refused_with_their_name_what_came_and_what_was_expected(
    call, names, build, message
):
    with pytest.raises(ValueError, match=rf"^({names}) {pattern(message)}"):
        call(build())


@pytest.mark.parametrize("function", [kl_divergence, reparameterize, small_vae().reparameterize])
@pytest.mark.parametrize("mu, logvar", [((3, 2), (3, 4)), ((3, 2), (2, 2)), ((3, 2), (1, 2))])
def test_mismatched_mu_and_logvar_are_refused_with_both_shapes(function, mu, logvar):
    message = f"mu has shape {mu} and logvar {logvar}; expected the same shape"
    with pytest.raises(ValueError, match=re.escape(message)):
        function(torch.zeros(mu), torch.zeros(logvar))


@pytest.mark.parametrize("function", [kl_divergence, reparameterize])
def test_mu_and_logvar_without_a_batch_or_that_are_no_tensors_are_refused(function):
    with pytest.raises(ValueError, match=r"mu has shape \(2,\).*batch first"):
        function(torch.zeros(2), torch.zeros(2))
    with pytest.raises(ValueError, match=r"logvar is a float; expected a torch\.Tensor"):
        function(torch.zeros(3, 2), 0.0)


@pytest.mark.parametrize("nll, name", [(bernoulli_nll, "logits"), (gaussian_nll, "mean")])
@pytest.mark.parametrize("shape", [(3, 1, 28, 27), (2, 1, 28, 28), (1, 1, 28, 28), (3, 784)])
def test_predictions_of_another_shape_than_the_images_are_refused(nll, name, shape):
    message = f"{name} has shape {shape} and x (3, 1, 28, 28); expected the same shape"
    with pytest.raises(ValueError, match=re.escape(message)):
        nll(torch.zeros(shape), small_images(3))


@pytest.mark.parametrize("beta", [-1, -1e-9, float("nan")])
def test_a_negative_beta_is_refused(beta, vae, images):
    with pytest.raises(ValueError, match=f"beta is {beta}; expected a number that is not negative"):
        negative_elbo(vae, images, beta=beta)


@pytest.mark.parametrize("sigma", [0, -1.0, float("nan")])
def test_a_sigma_that_is_not_positive_is_refused(sigma):
    with pytest.raises(ValueError, match=f"sigma is {sigma}; expected a positive number"):
        gaussian_nll(torch.zeros(2, 3), torch.zeros(2, 3), sigma)


def never(model, x):
    raise AssertionError("training began")


@pytest.mark.parametrize("argument", ["epochs", "batch_size"])
@pytest.mark.parametrize("value", [0, -1, 2.5, None, "3"])
def test_a_count_that_is_not_positive_is_refused_before_training(argument, value, vae, images):
    message = f"{argument} is {value!r}; expected a whole number, at least 1"
    with pytest.raises(ValueError, match=re.escape(message)):
        fit(vae, images, loss=never, **{argument: value})


@pytest.mark.parametrize("argument", ["lr", "clip"])
@pytest.mark.parametrize(
    "value", [0, -1e-3, float("nan"), float("inf"), pytest.param(10**309, id="beyond")]
)
def test_a_rate_or_limit_that_is_not_positive_is_refused_before_training(
    argument, value, vae, images
):
    message = f"{argument} is {brief(value)}; expected a positive number"
    with pytest.raises(ValueError, match=message):
        fit(vae, images, loss=never, **{argument: value})


@pytest.mark.parametrize("argument", ["samples", "chunk"])
@pytest.mark.parametrize("value", [0, -1, 2.5])
def test_a_number_of_samples_that_is_not_positive_is_refused(argument, value, vae, images):
    message = f"{argument} is {value}; expected a whole number, at least 1"
    with pytest.raises(ValueError, match=message):
        log_likelihood(vae, images, **{argument: value})


@pytest.mark.parametrize("n", [0, -1])
def test_sampling_no_images_is_refused(n, vae):
    with pytest.raises(ValueError, match=f"n is {n}; expected a whole number, at least 1"):
        vae.sample(n)


@pytest.mark.parametrize("function", ["fit", "evaluate"])
def test_images_and_labels_of_different_lengths_are_refused(function, vae, images):
    data = (images, torch.zeros(len(images) - 1))
    with pytest.raises(ValueError, match=r"tensors of lengths \[12, 11\]; expected equal"):
        fit(vae, data, loss=never) if function == "fit" else evaluate(vae, data, loss=never)


@pytest.mark.parametrize("z", [torch.zeros(3, 5), torch.zeros(2), torch.zeros(1, 2, 2), [0.0, 1.0]])
@pytest.mark.parametrize("method", ["decode", "decode_logits"])
@pytest.mark.parametrize("build", [small_vae, small_autoencoder])
def test_codes_of_the_wrong_shape_are_refused(build, method, z):
    came = str(tuple(z.shape)) if isinstance(z, torch.Tensor) else "list"
    message = f"z is {came}; expected a tensor of shape (n, 2)"
    with pytest.raises(ValueError, match=re.escape(message)):
        getattr(build(), method)(z)


@pytest.mark.parametrize("latent", [-1, 2, 99])
def test_a_latent_index_out_of_range_is_refused(latent, vae):
    message = f"order is [0, {latent}]; expected different latents from 0 to 1"
    with pytest.raises(ValueError, match=re.escape(message)):
        latent_sliders(vae, order=[0, latent])
    with pytest.raises(ValueError, match=r"z is \(1, 3\); expected a tensor of shape \(n, 2\)"):
        decode_png(vae, torch.zeros(1, 3))


def test_an_unknown_data_name_is_refused_and_the_known_ones_listed():
    with pytest.raises(ValueError, match="name is 'mnst'; expected one of 'mnist'"):
        load_images("mnst")


@pytest.mark.parametrize("place", ["folder", "parent is a file"])
def test_an_unwritable_checkpoint_path_is_refused_before_training(place, tmp_path, vae, images):
    (tmp_path / "file").write_text("")
    path = tmp_path if place == "folder" else tmp_path / "file" / "model.pt"
    with pytest.raises(OSError, match=re.escape(str(path))):
        fit(vae, images, loss=never, checkpoint=path)
