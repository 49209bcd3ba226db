"""The closed forms against torch.distributions, Monte Carlo and finite differences."""

import math

from vae_helpers.losses import (
    LearnedGaussian,
    bernoulli_nll,
    cyclical,
    gaussian_nll,
    kl_divergence,
    linear_warmup,
    negative_elbo,
    reconstruction_loss,
)

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from small import small_autoencoder, small_images, small_vae
from torch.distributions import Bernoulli, Normal


def codes(limit):
    elements = st.floats(-limit, limit)
    return arrays(np.float64, (3, 2), elements=elements).map(torch.from_numpy)


def normal(mu, logvar):
    return Normal(mu, torch.exp(0.5 * logvar))


prior = Normal(0.0, 1.0)


# --- KL divergence ---


@given(mu=codes(10), logvar=codes(10))
def test_kl_is_that_of_torch_distributions(mu, logvar):
    expected = torch.distributions.kl_divergence(normal(mu, logvar), prior).sum(dim=1)
    torch.testing.assert_close(kl_divergence(mu, logvar), expected, rtol=1e-9, atol=1e-9)


def test_kl_in_single_precision_is_that_of_torch_distributions():
    mu, logvar = torch.randn(50, 20), torch.randn(50, 20)
    expected = torch.distributions.kl_divergence(normal(mu, logvar), prior).sum(dim=1)
    torch.testing.assert_close(kl_divergence(mu, logvar), expected, rtol=1e-6, atol=1e-5)


def test_kl_agrees_with_monte_carlo_within_its_error_bar():
    mu, logvar = torch.tensor([[0.7, -1.2], [0.0, 2.0]]), torch.tensor([[-1.0, 0.5], [0.3, -2.0]])
    q, n = normal(mu, logvar), 20_000
    z = q.sample((n,))
    draws = (q.log_prob(z) - prior.log_prob(z)).sum(dim=-1)
    z_score = (draws.mean(0) - kl_divergence(mu, logvar)) / (draws.std(0) / math.sqrt(n))
    assert z_score.abs().max() < 4


@given(mu=codes(6), logvar=codes(6))
def test_kl_is_never_negative(mu, logvar):
    assert (kl_divergence(mu, logvar) >= -1e-12).all()


def test_kl_is_zero_at_the_prior_only():
    assert kl_divergence(torch.zeros(1, 4), torch.zeros(1, 4)).item() == 0
    assert kl_divergence(torch.full((1, 4), 0.1), torch.zeros(1, 4)).item() > 0
    assert kl_divergence(torch.zeros(1, 4), torch.full((1, 4), 0.1)).item() > 0


def test_kl_gradient_is_the_analytic_one_and_that_of_finite_differences():
    mu = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    logvar = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    kl_divergence(mu, logvar).sum().backward()
    torch.testing.assert_close(mu.grad, mu.detach())
    torch.testing.assert_close(logvar.grad, (logvar.detach().exp() - 1) / 2)
    assert torch.autograd.gradcheck(kl_divergence, (mu, logvar))


def test_the_formula_with_the_wrong_sign_is_not_the_kl():
    mu, logvar = torch.randn(5, 3), torch.randn(5, 3)
    wrong = 0.5 * (1 + logvar - mu**2 - logvar.exp()).sum(dim=1)
    assert (wrong < 0).all()
    torch.testing.assert_close(kl_divergence(mu, logvar), -wrong)


def test_kl_of_a_batch_is_that_of_each_image_alone():
    mu, logvar = torch.randn(5, 3), torch.randn(5, 3)
    alone = [kl_divergence(m[None], v[None]) for m, v in zip(mu, logvar, strict=True)]
    torch.testing.assert_close(kl_divergence(mu, logvar), torch.cat(alone))


# --- Likelihoods ---


def test_bernoulli_nll_is_that_of_torch_distributions():
    logits, x = torch.randn(3, 2, 4, 5), torch.rand(3, 2, 4, 5).round()
    expected = -Bernoulli(logits=logits).log_prob(x).flatten(1).sum(dim=1)
    torch.testing.assert_close(bernoulli_nll(logits, x), expected)


def test_bernoulli_nll_of_grey_values_is_the_cross_entropy():
    logits, x = torch.randn(3, 1, 4, 4), torch.rand(3, 1, 4, 4)
    p = torch.sigmoid(logits)
    expected = -(x * p.log() + (1 - x) * (1 - p).log()).flatten(1).sum(dim=1)
    torch.testing.assert_close(bernoulli_nll(logits, x), expected)


@pytest.mark.parametrize("logit", [-1e4, -100.0, 100.0, 1e4])
@pytest.mark.parametrize("pixel", [0.0, 0.5, 1.0])
def test_bernoulli_nll_of_extreme_logits_is_finite_and_right(logit, pixel):
    logits = torch.full((1, 1, 2, 2), logit, requires_grad=True)
    nll = bernoulli_nll(logits, torch.full((1, 1, 2, 2), pixel))
    nll.sum().backward()
    expected = 4 * (max(logit, 0) - logit * pixel)  # log(1 + exp(-|logit|)) is 0 here
    assert nll.item() == pytest.approx(expected)
    torch.testing.assert_close(logits.grad, torch.full_like(logits, (logit > 0) - pixel))


@pytest.mark.parametrize("sigma", [0.1, 1.0, 3.0])
def test_gaussian_nll_is_that_of_torch_distributions(sigma):
    mean, x = torch.randn(3, 2, 4, 4), torch.rand(3, 2, 4, 4)
    expected = -Normal(mean, sigma).log_prob(x).flatten(1).sum(dim=1)
    torch.testing.assert_close(gaussian_nll(mean, x, sigma), expected)


def test_gaussian_nll_has_unit_sigma_by_default_and_can_be_negative():
    mean, x = torch.randn(2, 3), torch.rand(2, 3)
    torch.testing.assert_close(gaussian_nll(mean, x), gaussian_nll(mean, x, 1.0))
    assert (gaussian_nll(x, x, 0.01) < 0).all()


def test_a_learned_sigma_starts_where_asked_and_finds_the_size_of_the_error():
    torch.manual_seed(0)
    nll = LearnedGaussian(torch.tensor(0.5))
    logits, x = torch.zeros(200, 1, 5, 5), (0.5 + 0.1 * torch.randn(200, 1, 5, 5)).clamp(0, 1)
    torch.testing.assert_close(nll(logits, x), gaussian_nll(torch.sigmoid(logits), x, 0.5))
    optimizer = torch.optim.Adam(nll.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        nll(logits, x).mean().backward()
        optimizer.step()
    rms = ((x - 0.5) ** 2).mean().sqrt()
    torch.testing.assert_close(nll.log_sigma.exp(), rms, rtol=1e-3, atol=0)


def test_the_sigma_of_a_likelihood_is_a_parameter_of_the_model():
    model = small_vae()
    model.nll = LearnedGaussian(torch.tensor(0.3))
    assert "nll.log_sigma" in model.state_dict()
    negative_elbo(model, small_images(4))["loss"].mean().backward()
    assert model.nll.log_sigma.grad.abs() > 0


@pytest.mark.parametrize("nll", [bernoulli_nll, gaussian_nll])
def test_gradient_of_each_likelihood_is_that_of_finite_differences(nll):
    logits = torch.randn(2, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    x = torch.rand(2, 1, 2, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda logits: nll(logits, x), logits)


# --- What is minimised ---


@given(beta=st.floats(0, 10), n=st.integers(1, 5), seed=st.integers(0, 99))
def test_the_loss_is_nll_plus_beta_kl_for_each_image(beta, n, seed):
    torch.manual_seed(seed)
    terms = negative_elbo(small_vae(), small_images(n), beta=beta)
    assert {name: term.shape for name, term in terms.items()} == dict.fromkeys(
        ("loss", "nll", "kl"), (n,)
    )
    torch.testing.assert_close(terms["loss"], terms["nll"] + beta * terms["kl"])


def test_nll_and_kl_do_not_depend_on_beta(vae, images):
    parts = []
    for beta in (0, 1, 4):
        torch.manual_seed(3)
        parts.append(negative_elbo(vae, images, beta=beta))
    for other in parts[1:]:
        assert torch.equal(other["nll"], parts[0]["nll"])
        assert torch.equal(other["kl"], parts[0]["kl"])


def test_negative_elbo_is_the_formula_with_the_models_own_draw(vae, images):
    torch.manual_seed(5)
    terms = negative_elbo(vae, images)
    torch.manual_seed(5)
    logits, mu, logvar = vae(images)
    expected = bernoulli_nll(logits, images) + kl_divergence(mu, logvar)
    assert torch.equal(terms["loss"], expected)


def test_negative_elbo_uses_the_likelihood_of_the_model(vae, images):
    vae.nll = gaussian_nll
    torch.manual_seed(5)
    terms = negative_elbo(vae, images)
    torch.manual_seed(5)
    assert torch.equal(terms["nll"], gaussian_nll(vae(images)[0], images))


def test_the_loss_reaches_every_parameter(vae, images):
    negative_elbo(vae, images)["loss"].mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in vae.parameters())


def test_reconstruction_loss_of_an_autoencoder_is_its_nll(images):
    model = small_autoencoder()
    loss = reconstruction_loss(model, images)["loss"]
    assert loss.shape == (len(images),)
    assert torch.equal(loss, bernoulli_nll(model(images)[0], images))


# --- Schedules of beta ---


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_linear_warmup_rises_from_0_to_1_and_stays(share):
    values = [linear_warmup(i / 100, share) for i in range(101)]
    assert values[0] == 0 and values[-1] == 1
    assert values == sorted(values)
    for i, value in enumerate(values):
        assert value == pytest.approx(min(1, i / 100 / share))


def test_each_cycle_is_a_warmup_and_the_last_ends_at_1():
    values = [cyclical(i / 400, cycles=4, share=0.5) for i in range(401)]
    one = [linear_warmup(i / 100, 0.5) for i in range(100)]
    assert values == pytest.approx([*one * 4, 1.0])
    assert [values.count(edge) for edge in (0.0, 1.0)] == [4, 4 * 50 + 1]


def test_one_cycle_is_the_linear_warmup():
    for i in range(11):
        assert cyclical(i / 10, cycles=1, share=0.3) == linear_warmup(i / 10, 0.3)


@pytest.mark.parametrize(
    "schedule, message",
    [
        (lambda: linear_warmup(-0.1), "progress is -0.1; expected a number from 0 to 1"),
        (lambda: linear_warmup(3), "progress is 3; expected a number from 0 to 1"),
        (lambda: linear_warmup(math.nan), "progress is nan"),
        (lambda: linear_warmup(0.5, 0), "share is 0; expected a number above 0, at most 1"),
        (lambda: cyclical(0.5, share=2), "share is 2; expected"),
        (lambda: cyclical(1.5), "progress is 1.5; expected"),
        (lambda: cyclical(0.5, cycles=0), "cycles is 0; expected a whole number"),
        (lambda: cyclical(0.5, cycles=1.5), "cycles is 1.5; expected a whole number"),
    ],
)
def test_a_wrong_schedule_is_an_error_that_names_it(schedule, message):
    with pytest.raises(ValueError, match=message):
        schedule()
