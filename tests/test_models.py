"""Networks and models: shapes, the reparameterised draw, and what their sizes must be."""

import math
import re

from vae_helpers.losses import kl_divergence
from vae_helpers.models import VAE, Autoencoder, reparameterize
from vae_helpers.networks import (
    conv_decoder,
    conv_encoder,
    conv_size,
    mlp_decoder,
    mlp_encoder,
    transposed_conv_size,
)
from vae_helpers.training import fit

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import small_autoencoder, small_conditional, small_images, small_vae
from torch import nn

OPTIONS = [
    {"latent": 2},
    {"latent": 20, "hidden": (16, 8)},
    {"latent": 3, "image_shape": (3, 6, 4)},
    {"latent": 1, "batch_norm": True},
]


def linear_widths(network):
    return [(m.in_features, m.out_features) for m in network if isinstance(m, nn.Linear)]


# --- Networks ---


def test_the_default_networks_are_784_400_2x20_and_20_400_784():
    assert linear_widths(mlp_encoder(2 * 20)) == [(784, 400), (400, 40)]
    assert linear_widths(mlp_decoder(20)) == [(20, 400), (400, 784)]


@pytest.mark.parametrize("batch_norm", [False, True])
def test_hidden_layers_have_the_widths_asked_for_and_a_relu_each(batch_norm):
    for network in (
        mlp_encoder(4, (32, 16), batch_norm=batch_norm),
        mlp_decoder(4, (32, 16), batch_norm=batch_norm),
    ):
        assert [out for _, out in linear_widths(network)][:2] == [32, 16]
        assert sum(isinstance(m, nn.ReLU) for m in network) == 2
        assert [m.num_features for m in network if isinstance(m, nn.BatchNorm1d)] == (
            [32, 16] if batch_norm else []
        )


def test_decoders_end_in_logits_not_in_probabilities():
    last = [m for m in mlp_decoder(2) if not isinstance(m, nn.Unflatten)][-1]
    assert isinstance(last, nn.Linear)


@pytest.mark.parametrize("build", [mlp_encoder, mlp_decoder])
@pytest.mark.parametrize("hidden", [(), (0,), (-3,), (16, 2.5), ("16",), 16])
def test_a_wrong_hidden_width_is_an_error_that_names_it(build, hidden):
    with pytest.raises(ValueError, match=r"hidden is .*expected whole positive"):
        build(2, hidden=hidden)


@pytest.mark.parametrize("size", [0, -1, 2.0])
@pytest.mark.parametrize("build, argument", [(mlp_encoder, "outputs"), (mlp_decoder, "latent_dim")])
def test_a_wrong_size_is_an_error_that_names_the_argument(build, argument, size):
    with pytest.raises(ValueError, match=rf"{argument} is .*{size}"):
        build(size)


@given(
    n=st.integers(4, 70), kernel=st.integers(1, 4), stride=st.integers(1, 3),
    padding=st.integers(0, 2), extra=st.integers(0, 1),
)  # fmt: skip
def test_sizes_are_those_of_torchs_layers(n, kernel, stride, padding, extra):
    x, extra = torch.zeros(1, 1, n, n), min(extra, stride - 1)
    conv = nn.Conv2d(1, 1, kernel, stride, padding)
    assert conv(x).shape[-1] == conv_size(n, kernel, stride, padding)
    transposed = nn.ConvTranspose2d(1, 1, kernel, stride, padding, extra)
    expected = transposed_conv_size(n, kernel, stride, padding, extra)
    if expected > 0:
        assert transposed(x).shape[-1] == expected


CHANNELS = [(8,), (8, 4), (4, 8, 6), (4, 5, 6, 7)]


@pytest.mark.parametrize("width", [16, 23, 28, 29, 30, 31, 64])
@pytest.mark.parametrize("channels", CHANNELS, ids=len)
@pytest.mark.parametrize("hidden", [(), (12,), (12, 9)], ids=len)
def test_a_conv_decoder_returns_to_the_size_of_the_image(width, channels, hidden):
    shape = (3, width, width)
    encoder = conv_encoder(10, channels, hidden, shape)
    decoder = conv_decoder(5, channels[::-1], hidden[::-1], shape)
    assert encoder(torch.rand(2, *shape)).shape == (2, 10)
    assert decoder(torch.randn(2, 5)).shape == (2, *shape)
    assert decoder[0].in_features == 5  # where VAE reads the number of latents


@pytest.mark.parametrize("batch_norm", [False, True])
def test_conv_networks_have_the_layers_asked_for_and_end_without_activation(batch_norm):
    encoder = conv_encoder(10, (8, 4), (12,), batch_norm=batch_norm)
    decoder = conv_decoder(5, (4, 8), (12,), batch_norm=batch_norm)
    assert [m.out_channels for m in encoder if isinstance(m, nn.Conv2d)] == [8, 4]
    assert [m.out_channels for m in decoder if isinstance(m, nn.ConvTranspose2d)] == [8, 1]
    for network, normed in ((encoder, [8, 4]), (decoder, [4, 8])):
        norms = [m.num_features for m in network if isinstance(m, nn.BatchNorm2d)]
        assert norms == (normed if batch_norm else [])
        assert sum(isinstance(m, nn.SiLU) for m in network) == 3
    assert isinstance(encoder[-1], nn.Linear) and isinstance(decoder[-1], nn.ConvTranspose2d)


@pytest.mark.parametrize("build", [conv_encoder, conv_decoder])
@pytest.mark.parametrize("shape", [(1, 28, 20), (1, 3, 3), (3, 20, 28)])
def test_images_that_conv_networks_cannot_halve_are_an_error(build, shape):
    with pytest.raises(ValueError, match=r"image_shape is .*expected square images, at least 4"):
        build(10, (8, 4), image_shape=shape)


@pytest.mark.parametrize("build", [conv_encoder, conv_decoder])
@pytest.mark.parametrize("channels", [(), (0,), (8, 2.5), 8])
def test_wrong_channels_are_an_error_that_names_them(build, channels):
    with pytest.raises(ValueError, match=r"channels is .*expected whole positive"):
        build(10, channels)


# --- Shapes ---


@pytest.mark.parametrize("options", OPTIONS)
def test_every_method_of_a_vae_has_its_documented_shape(options):
    vae, d = small_vae(**options), options["latent"]
    shape = options.get("image_shape", (1, 28, 28))
    x = small_images(5, shape)
    mu, logvar = vae.encode(x)
    z = vae.reparameterize(mu, logvar)
    assert vae.latent_dim == d
    assert mu.shape == logvar.shape == z.shape == (5, d)
    assert vae.decode_logits(z).shape == vae.decode(z).shape == (5, *shape)
    assert [t.shape for t in vae(x)] == [(5, *shape), (5, d), (5, d)]
    assert vae.sample(7).shape == (7, *shape)


@pytest.mark.parametrize("options", [{}, {"latent": 20, "image_shape": (3, 6, 4)}])
def test_every_method_of_an_autoencoder_has_its_documented_shape(options):
    model = small_autoencoder(**options)
    shape, d = options.get("image_shape", (1, 28, 28)), options.get("latent", 2)
    logits, z = model(small_images(5, shape))
    assert model.latent_dim == d
    assert logits.shape == model.decode(z).shape == (5, *shape)
    assert z.shape == model.encode(small_images(5, shape)).shape == (5, d)


def test_one_image_is_a_batch(vae):
    assert vae(small_images(1))[0].shape == (1, 1, 28, 28)


def test_mu_and_logvar_are_the_two_halves_of_the_encoder(vae, images):
    mu, logvar = vae.encode(images)
    assert torch.equal(torch.cat([mu, logvar], dim=1), vae.encoder(images))


# --- What they compute ---


@given(scale=st.floats(0, 1e6))
def test_decoded_pixels_lie_in_0_1_for_any_code(scale):
    pixels = small_vae().decode(scale * torch.randn(4, 2))
    assert 0 <= pixels.min() and pixels.max() <= 1


def test_decode_is_the_sigmoid_of_the_logits(vae):
    z = torch.randn(4, 2)
    assert torch.equal(vae.decode(z), torch.sigmoid(vae.decode_logits(z)))


def test_sample_decodes_draws_from_the_prior(vae):
    torch.manual_seed(8)
    samples = vae.sample(6)
    torch.manual_seed(8)
    assert torch.equal(samples, vae.decode(torch.randn(6, 2)))


def test_an_autoencoder_gives_one_input_one_code_and_a_vae_does_not(images):
    autoencoder, vae = small_autoencoder(), small_vae()
    assert torch.equal(autoencoder(images)[1], autoencoder(images)[1])
    assert torch.equal(vae.encode(images)[0], vae.encode(images)[0])
    assert not torch.equal(vae(images)[0], vae(images)[0])


def test_an_autoencoder_reconstructs_from_its_code(images):
    model = small_autoencoder()
    logits, z = model(images)
    assert torch.equal(logits, model.decode_logits(z))


# --- The reparameterised draw ---


def test_draws_have_the_moments_of_the_normal_distribution():
    mu, logvar = torch.tensor([[1.0, -2.0, 0.0]]), torch.tensor([[0.0, -2.0, 1.5]])
    n, std = 40_000, torch.exp(0.5 * logvar)
    z = reparameterize(mu.expand(n, 3), logvar.expand(n, 3))
    assert ((z.mean(0) - mu) / (std / math.sqrt(n))).abs().max() < 4
    # The standard error of a Normal's standard deviation is std / sqrt(2 n).
    assert ((z.std(0) - std) / (std / math.sqrt(2 * n))).abs().max() < 4


def test_the_gradient_of_a_draw_is_1_for_mu_and_half_eps_sigma_for_logvar():
    mu = torch.randn(6, 3, requires_grad=True)
    logvar = torch.randn(6, 3, requires_grad=True)
    z = reparameterize(mu, logvar)
    z.sum().backward()
    eps_sigma = (z - mu).detach()
    torch.testing.assert_close(mu.grad, torch.ones(6, 3))
    torch.testing.assert_close(logvar.grad, 0.5 * eps_sigma)


def test_each_draw_is_new_and_repeats_with_the_seed():
    mu, logvar = torch.zeros(4, 3), torch.zeros(4, 3)
    torch.manual_seed(1)
    first, second = reparameterize(mu, logvar), reparameterize(mu, logvar)
    torch.manual_seed(1)
    assert torch.equal(first, reparameterize(mu, logvar))
    assert not torch.equal(first, second)


def test_a_tiny_variance_leaves_the_mean():
    mu = torch.randn(4, 3)
    assert torch.equal(reparameterize(mu, torch.full((4, 3), -300.0)), mu)


# --- Latent size ---


@pytest.mark.parametrize("model", [VAE, Autoencoder])
def test_the_latent_size_is_the_width_of_the_decoders_first_layer(model):
    assert model(mlp_encoder(14), mlp_decoder(7)).latent_dim == 7


@pytest.mark.parametrize("model", [VAE, Autoencoder])
@pytest.mark.parametrize(
    "decoder, first",
    [
        (nn.Sequential(nn.Unflatten(1, (2, 1, 1)), nn.Conv2d(2, 1, 1)), "Unflatten"),
        (nn.Sequential(), "Sequential"),
        (nn.ReLU(), "ReLU"),
    ],
)
def test_a_decoder_that_does_not_start_with_a_linear_layer_is_an_error(model, decoder, first):
    with pytest.raises(ValueError, match=rf"decoder .*{first}.*expected .*nn\.Linear"):
        model(mlp_encoder(4), decoder)


@pytest.mark.parametrize("outputs", [2, 3, 6])
def test_an_encoder_that_does_not_fit_the_decoder_is_an_error(outputs, images):
    vae = VAE(mlp_encoder(outputs, (8,)), mlp_decoder(2, (8,)))
    with pytest.raises(ValueError, match=r"mu has shape|z is .*expected"):
        vae(images)


# --- The conditional VAE ---


def test_every_method_of_a_conditional_vae_has_its_documented_shape():
    for shape in ((1, 28, 28), (3, 6, 4)):
        model, x, y = small_conditional(image_shape=shape), small_images(5, shape), torch.arange(5)
        mu, logvar = model.encode(x, y)
        assert mu.shape == logvar.shape == (5, 2) and model.latent_dim == 2
        assert model.decode_logits(mu, y).shape == model.decode(mu, y).shape == x.shape
        assert [part.shape for part in model(x, y)] == [x.shape, (5, 2), (5, 2)]
        assert model.sample(y).shape == x.shape


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_the_label_reaches_both_networks(part):
    model, x, y = small_conditional(), small_images(3), torch.tensor([0, 1, 2])
    z = torch.zeros(3, 2)
    ask = (lambda y: model.encode(x, y)[0]) if part == "encoder" else (lambda y: model.decode(z, y))
    changed = (ask(y) != ask(torch.tensor([0, 4, 2]))).flatten(1).any(dim=1)
    assert changed.tolist() == [False, True, False], "a label says something of its own image only"


def test_a_sample_is_a_draw_from_the_prior_with_the_label_asked_for():
    model, y = small_conditional(), torch.tensor([3, 3, 9])
    torch.manual_seed(5)
    drawn = model.sample(y)
    torch.manual_seed(5)
    assert torch.equal(drawn, model.decode(torch.randn(3, 2), y))


@pytest.mark.parametrize(
    "y, message",
    [
        ([0, 1, 2], "y is [0, 1, 2]; expected torch.int64 (3,)"),
        (torch.zeros(3), "y is Tensor (3,) of torch.float32; expected torch.int64 (3,)"),
        (torch.zeros(2).long(), "y is Tensor (2,) of torch.int64; expected torch.int64 (3,)"),
        (torch.zeros(3, 1).long(), "y is Tensor (3, 1) of torch.int64; expected"),
        (torch.tensor([0, 5, 10]), "y has labels from 0 to 10; expected 0 to 9"),
        (torch.tensor([0, -1, 1]), "y has labels from -1 to 1; expected 0 to 9"),
    ],
)
def test_a_wrong_label_is_an_error_that_names_it(y, message):
    model, x, z = small_conditional(), small_images(3), torch.zeros(3, 2)
    for use in (lambda: model.encode(x, y), lambda: model.decode(z, y), lambda: model(x, y)):
        with pytest.raises(ValueError, match=re.escape(message)):
            use()


def test_a_conditional_vae_trains_on_images_and_labels():
    def loss(model, x, y):
        logits, mu, logvar = model(x, y)
        return {"loss": model.nll(logits, x) + kl_divergence(mu, logvar)}

    model, data = small_conditional(), (small_images(20), torch.arange(20) % 10)
    history = fit(model, data, data, loss=loss, epochs=3, batch_size=5, lr=1e-2, quiet=True)
    assert history["validation"]["loss"][-1] < 0.9 * history["train"]["loss"][0]
