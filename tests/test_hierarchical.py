"""The hierarchical VAE: shapes, gradients, and that its loss is the bound it says it is."""

import math

from vae_helpers.hierarchical import HierarchicalVAE, as_normal
from vae_helpers.losses import kl_divergence, negative_elbo
from vae_helpers.models import VAE
from vae_helpers.training import fit

import pytest
import torch
from small import small_images
from torch import nn

SIZE = (1, 6, 5)
LATENTS = [(3,), (4, 2), (2, 5), (4, 3, 2), (1, 1, 1, 1)]


def small(latents=(4, 2), hidden=12, seed=0, **options):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return HierarchicalVAE(latents, hidden, image_shape=SIZE, **options)


def binary(n=7):
    return (small_images(n, SIZE) > 0.3).float()


def loss(model, x, beta=1.0):
    logits, kls = model(x)
    return {"loss": model.nll(logits, x) + beta * sum(kls)}


@pytest.mark.parametrize("latents", LATENTS)
def test_shapes_for_any_number_of_layers(latents):
    model, x = small(latents), binary()
    logits, kls = model(x)
    assert logits.shape == x.shape and [kl.shape for kl in kls] == [(7,)] * len(latents)
    assert [z.shape for z, _, _ in model.infer(x)] == [(7, d) for d in latents]
    assert model.sample(5).shape == (5, *SIZE)
    for layer, (d, above) in enumerate(zip(latents, (*latents[1:], 0), strict=True), start=1):
        assert model.prior(layer, torch.zeros(3, above)).mean.shape == (3, d)


@pytest.mark.parametrize("latents", LATENTS)
def test_gradients_reach_every_parameter(latents):
    model = small(latents)
    loss(model, binary())["loss"].mean().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_top_prior_is_standard_and_the_others_follow_the_layer_above():
    model = small((4, 3, 2))
    top = model.prior(3, torch.zeros(5, 0))
    assert not top.mean.any() and (top.stddev == 1).all()
    below = model.prior(2, torch.randn(5, 2))
    assert below.mean.std(dim=0).min() > 0


@pytest.mark.parametrize("latents", LATENTS)
def test_the_kls_are_the_mean_of_log_q_minus_log_p(latents):
    """Each term by the draws themselves, which holds only with one sample per layer."""
    torch.manual_seed(0)
    model, x = small(latents), binary(1).expand(20_000, *SIZE)
    with torch.no_grad():
        layers = model.infer(x)
        _, kls = model(x)
    for (z, q, p), kl in zip(layers, kls, strict=True):
        ratio = (q.log_prob(z) - p.log_prob(z)).sum(dim=1)
        error = 5 * (ratio.std() + kl.std()).item() / math.sqrt(len(x))
        assert abs(ratio.mean() - kl.mean()) < error + 1e-6 and (kl >= 0).all()


def test_the_loss_bounds_log_p_of_what_the_model_samples():
    """log p(x) of all pictures of four pixels, from many draws of the model's own generator."""
    torch.manual_seed(0)
    model = HierarchicalVAE((2, 1), 8, image_shape=(1, 2, 2))
    codes = torch.arange(16)[:, None] >> torch.arange(4) & 1
    pictures = codes.float().view(16, 1, 2, 2)
    fit(model, pictures[[3, 12] * 20], loss=loss, epochs=150, lr=3e-2, quiet=True)
    with torch.no_grad():
        means = model.sample(200_000).flatten(1)
        p = torch.stack([(means * c + (1 - means) * (1 - c)).prod(dim=1).mean() for c in codes])
        assert abs(p.sum() - 1) < 1e-4
        bound = -loss(model, pictures.repeat(2000, 1, 1, 1))["loss"].view(2000, 16)
    noise = bound.std(dim=0) / math.sqrt(2000)
    assert (bound.mean(dim=0) < p.log() + 5 * noise + 0.02).all()
    assert p[[3, 12]].sum() > 0.5


def test_one_layer_is_the_ordinary_vae():
    model, x = small((3,)), binary()
    vae = VAE(nn.Sequential(nn.Flatten(), *model.up[0], model.q[0]), model.decoder,
              image_shape=SIZE)  # fmt: skip
    _, (kl,) = model(x)
    assert torch.allclose(kl, kl_divergence(*vae.encode(x)), atol=1e-5)
    copies = x[:1].expand(20_000, *SIZE)
    ours, theirs = (f(m, copies)["loss"] for f, m in ((loss, model), (negative_elbo, vae)))
    assert abs(ours.mean() - theirs.mean()) < 5 * ours.std() / 100


def test_a_fixed_layer_is_not_drawn():
    model = small((4, 3, 2))
    lowest = model.sample(6, fixed={1: torch.ones(1, 4)})
    assert torch.allclose(lowest, torch.sigmoid(model.decoder(torch.ones(1, 4))).expand_as(lowest))
    torch.manual_seed(0)
    middle = model.sample(6, fixed={2: torch.ones(6, 3)})
    assert (middle != middle[:1]).any()
    torch.manual_seed(0)
    free = model.sample(6)
    torch.manual_seed(0)
    assert torch.equal(model.sample(6), free) and not torch.equal(middle, free)


def test_gaussian_reads_mu_and_logvar_side_by_side():
    d = as_normal(torch.tensor([[1.0, 2.0, 0.0, math.log(4)]]))
    assert d.mean.tolist() == [[1, 2]] and torch.allclose(d.stddev, torch.tensor([[1.0, 2.0]]))


@pytest.mark.parametrize("latents", [(), (3, 0), (2.5,), 20, ("3",)])
def test_wrong_latents_are_an_error_that_names_them(latents):
    with pytest.raises(ValueError, match=r"latents is .*expected whole positive"):
        HierarchicalVAE(latents)


@pytest.mark.parametrize("hidden", [0, 2.5, (8,)])
def test_a_wrong_width_is_an_error_that_names_it(hidden):
    with pytest.raises(ValueError, match=r"hidden is .*expected whole positive"):
        HierarchicalVAE((3,), hidden)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda m: m(torch.zeros(2, 1, 28, 28)), r"x has shape .*expected \(n, 1, 6, 5\)"),
        (lambda m: m(3 * torch.ones(2, *SIZE)), r"x has values from 3 to 3"),
        (lambda m: m.sample(0), r"n is 0; expected a whole number, at least 1"),
        (lambda m: m.sample(2, {3: torch.zeros(1, 2)}), r"layers \[3\]; expected .* 1 to 2"),
        (lambda m: m.sample(2, {1: torch.zeros(1, 2)}), r"fixed\[1\] is \(1, 2\); .*\(2, 4\)"),
        (lambda m: m.prior(0, torch.zeros(2, 0)), r"layer is 0; expected .* 1 to 2"),
        (lambda m: m.prior(1, torch.zeros(2, 5)), r"above is \(2, 5\); expected .*\(n, 2\)"),
    ],
)  # fmt: skip
def test_bad_input_is_an_error_that_says_what_was_expected(call, words):
    with pytest.raises(ValueError, match=words):
        call(small())


def test_each_prior_is_given_the_draw_that_is_returned_of_the_layer_above():
    model, x = small(), small_images(3, SIZE)
    layers = model.infer(x)
    top = torch.zeros(3, 0)
    for layer, (above, (_, _, prior)) in enumerate(
        zip([z for z, _, _ in layers[1:]] + [top], layers, strict=True), start=1
    ):
        expected = model.prior(layer, above)
        assert torch.equal(prior.mean, expected.mean)
        assert torch.equal(prior.stddev, expected.stddev)


def test_the_decoder_reads_the_draw_of_the_first_layer():
    model, x = small(), small_images(3, SIZE)
    torch.manual_seed(4)
    logits, _ = model(x)
    torch.manual_seed(4)
    assert torch.equal(logits, model.decoder(model.infer(x)[0][0]))
