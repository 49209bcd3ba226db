"""Likelihood on a model whose evidence is known, active units, and the classifier."""

import math
from itertools import pairwise

from vae_helpers import metrics
from vae_helpers.losses import gaussian_nll, negative_elbo
from vae_helpers.metrics import (
    accuracy,
    active_units,
    classify,
    encode_means,
    log_likelihood,
    train_classifier,
)
from vae_helpers.training import evaluation

import pytest
import torch
from small import small_autoencoder, small_conditional, small_images, small_vae
from torch import nn
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
)


class LinearGaussian(nn.Module):
    """x = W z + b + sigma eps with orthogonal columns of W, so that p(z|x) is a diagonal Normal.

    `shift` and `log_widening` move q(z|x) away from it.
    """

    image_shape, latent_dim, sigma = (1, 2, 3), 2, 0.1

    def __init__(self, shift=0.0, log_widening=0.0):
        super().__init__()
        columns = torch.tensor([[1.0, 1, 1, 1, 0, 0], [1, -1, 1, -1, 0, 0]]).T
        self.w = nn.Parameter(columns.double() * torch.tensor([0.1, 0.05]))
        self.b = 0.5
        self.shift, self.log_widening = shift, log_widening

    def encode(self, x):
        precision = 1 + self.w.square().sum(dim=0) / self.sigma**2
        mu = (x.flatten(1) - self.b) @ self.w / self.sigma**2 / precision + self.shift
        return mu, (self.log_widening - precision.log()).expand_as(mu)

    def decode_logits(self, z):
        return (z @ self.w.T + self.b).unflatten(1, self.image_shape)

    def nll(self, mean, x):
        return gaussian_nll(mean, x, self.sigma)

    def forward(self, x):
        mu, logvar = self.encode(x)
        return self.decode_logits(mu + torch.exp(logvar / 2) * torch.randn_like(mu)), mu, logvar

    def log_evidence(self, x):
        covariance = self.w @ self.w.T + self.sigma**2 * torch.eye(6)
        mean = torch.full((6,), self.b, dtype=torch.float64)
        return torch.distributions.MultivariateNormal(mean, covariance).log_prob(x.flatten(1))

    def posterior(self, x):
        exact_mu, exact_logvar = LinearGaussian().encode(x)
        return torch.distributions.Normal(exact_mu, torch.exp(exact_logvar / 2))

    def gap(self, x):
        mu, logvar = self.encode(x)
        q = torch.distributions.Normal(mu, torch.exp(logvar / 2))
        return torch.distributions.kl_divergence(q, self.posterior(x)).sum(dim=1)


BAD_POSTERIORS = [{"shift": 0.5}, {"log_widening": 1.0}, {"shift": -0.4, "log_widening": 0.7}]


@pytest.fixture
def x():
    return small_images(5, LinearGaussian.image_shape).double()


def z_score(estimates, exact):
    """How many standard errors the mean of the estimates lies above the exact number."""
    return ((estimates.mean() - exact) / (estimates.std() / math.sqrt(len(estimates)))).item()


# --- Bounds on a model whose evidence is known ---


@pytest.mark.parametrize("samples", [1, 3, 50])
@pytest.mark.parametrize("chunk", [1, 7, 2000])
def test_with_the_exact_posterior_the_bound_is_the_evidence(samples, chunk, x):
    model = LinearGaussian()
    bound = log_likelihood(model, x, samples=samples, chunk=chunk)
    torch.testing.assert_close(bound.double(), model.log_evidence(x).detach(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("posterior", BAD_POSTERIORS)
def test_elbo_is_below_the_bound_and_the_bound_grows_up_to_the_evidence(posterior, x):
    model = LinearGaussian(**posterior)
    copies = x[:1].expand(4000, *x.shape[1:])
    evidence = model.log_evidence(x[:1]).item()
    with torch.no_grad():
        elbo = -negative_elbo(model, copies)["loss"]
    bounds = [log_likelihood(model, copies, samples=samples) for samples in (1, 4, 16, 256)]

    assert abs(z_score(elbo, evidence - model.gap(x[:1]).item())) < 4  # ELBO = log p(x) - KL
    assert abs(z_score(bounds[0], evidence - model.gap(x[:1]).item())) < 4  # one sample: the ELBO
    for looser, tighter in pairwise(bounds):
        assert z_score(tighter, looser.mean()) > 4
    assert z_score(bounds[-1], evidence) < 4
    assert bounds[-1].mean().item() == pytest.approx(evidence, abs=0.02)


@pytest.mark.parametrize("chunk", [50, 200, 6400])
def test_the_bound_does_not_depend_on_the_chunk_but_for_noise(chunk, x):
    model = LinearGaussian(shift=0.5)
    copies = x[:1].expand(500, *x.shape[1:])
    bounds = [log_likelihood(model, copies, samples=100, chunk=c) for c in (1000, chunk)]
    difference = bounds[0].mean() - bounds[1].mean()
    error_bar = math.sqrt(sum(bound.var().item() / len(bound) for bound in bounds))
    assert abs(difference.item()) < 4 * error_bar < 0.1


def test_each_image_gets_its_own_number_in_its_place(x):
    model = LinearGaussian(shift=0.1)
    bound = log_likelihood(model, x, samples=500, chunk=700)
    assert bound.shape == (5,) and bound.device.type == "cpu" and not bound.requires_grad
    torch.testing.assert_close(bound.double(), model.log_evidence(x).detach(), rtol=0, atol=0.05)


def test_an_extreme_encoder_gives_a_number_all_the_same(vae, images):
    with torch.no_grad():
        vae.encoder[-1].bias[:2] += 60  # mu far from where the prior lives
    bound = log_likelihood(vae, images, samples=10)
    assert bound.isfinite().all() and (bound < -1000).all()


@pytest.mark.parametrize("samples", [1, 7, 101])
@pytest.mark.parametrize("chunk", [1, 10, 1000])
@pytest.mark.parametrize("n", [1, 5])
def test_never_more_codes_than_the_chunk_are_decoded_at_once(samples, chunk, n, x, monkeypatch):
    model, decoded, encoded = LinearGaussian(), [], []
    decode, encode = model.decode_logits, model.encode
    monkeypatch.setattr(model, "decode_logits", lambda z: decoded.append(len(z)) or decode(z))
    monkeypatch.setattr(model, "encode", lambda x: encoded.append(len(x)) or encode(x))
    log_likelihood(model, x[:n], samples=samples, chunk=chunk)
    assert max(decoded + encoded) <= chunk
    assert sum(decoded) == n * samples and sum(encoded) == n


def test_the_bound_repeats_with_its_seed_only(vae, images):
    first = log_likelihood(vae, images, samples=20)
    torch.manual_seed(9)
    assert torch.equal(log_likelihood(vae, images, samples=20), first)
    assert not torch.equal(log_likelihood(vae, images, samples=20, seed=1), first)


MEASURES = {
    "log_likelihood": lambda model, x: log_likelihood(model, x, samples=3),
    "active_units": active_units,
    "encode_means": encode_means,
}


@pytest.mark.parametrize("training_mode", [True, False])
@pytest.mark.parametrize("measure", MEASURES)
def test_a_measure_uses_eval_mode_and_restores_the_mode_that_was(measure, training_mode, images):
    model = small_vae(batch_norm=True).train(training_mode)
    modes, encode = [], model.encode
    model.encode = lambda x: modes.append(model.training) or encode(x)
    MEASURES[measure](model, images)
    assert set(modes) == {False} and model.training is training_mode

    def interrupted(x):
        raise KeyboardInterrupt

    model.encode = interrupted
    with pytest.raises(KeyboardInterrupt):
        MEASURES[measure](model, images)
    assert model.training is training_mode


# --- Active units ---


def test_a_latent_is_active_where_the_mean_of_q_varies_over_images(images):
    model = small_vae(latent=3)
    known = torch.tensor([[1.0, 0.1, 0.0], [-1.0, -0.1, 0.0]]).repeat(6, 1)
    model.encode = lambda x: (known[: len(x)], torch.zeros(len(x), 3))
    active, variance = active_units(model, images)
    torch.testing.assert_close(variance, torch.tensor([1.0, 0.01, 0.0]) * 12 / 11)
    assert active.tolist() == [True, True, False]
    assert active_units(model, images, threshold=0.5)[0].tolist() == [True, False, False]
    for threshold in (math.nan, math.inf):
        with pytest.raises(ValueError, match=r"^threshold is (nan|inf); expected a finite number"):
            active_units(model, images, threshold=threshold)


@pytest.mark.parametrize("batch_size", [1, 5, 1000])
def test_codes_of_both_models_come_in_order_on_the_cpu(batch_size, vae, images):
    autoencoder = small_autoencoder()
    for model, expected in ((vae, vae.encode(images)[0]), (autoencoder, autoencoder(images)[1])):
        codes = encode_means(model, images, batch_size=batch_size)
        assert codes.shape == (12, 2) and not codes.requires_grad
        torch.testing.assert_close(codes, expected.detach())


def test_bytes_have_the_codes_and_active_units_of_their_floats(monkeypatch):
    x, model, sizes = (small_images(25) * 255).round().byte(), small_vae(), []
    to_float = metrics.to_float
    monkeypatch.setattr(metrics, "to_float", lambda x: (sizes.append(len(x)), to_float(x))[1])
    codes = encode_means(model, x, batch_size=10)
    assert sizes == [10, 10, 5]  # never all of them at once
    assert torch.equal(codes, encode_means(model, x.float() / 255, batch_size=10))
    for ours, theirs in zip(active_units(model, x), active_units(model, x / 255), strict=True):
        assert torch.equal(ours, theirs)


# --- The classifier ---


def bright_rows(n):
    """Images of ten classes: class k is bright in rows 2k and 2k + 1."""
    labels = torch.arange(n) % 10
    x = small_images(n) / 2
    for image, label in zip(x, labels.tolist(), strict=True):
        image[0, 2 * label : 2 * label + 2] = 1
    return x, labels


def test_the_classifier_learns_and_repeats_and_leaves_the_callers_random_numbers_alone():
    x, labels = bright_rows(300)
    state = torch.get_rng_state()
    first = train_classifier(x, labels, epochs=8, device="cpu")
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(5)
    second = train_classifier(x, labels, epochs=8, device="cpu")
    assert accuracy(first, x, labels) > 0.9
    assert not first.training
    assert torch.equal(classify(first, x), classify(second, x))


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_class_probabilities_sum_to_1_and_come_in_order(batch_size):
    x, labels = bright_rows(20)
    classifier = train_classifier(x, labels, epochs=1, device="cpu")
    probabilities = classify(classifier, x, batch_size=batch_size)
    assert probabilities.shape == (20, 10) and not probabilities.requires_grad
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(20))
    torch.testing.assert_close(probabilities, classifier(x).softmax(1).detach())


def test_accuracy_is_the_share_of_right_answers():
    class AlwaysThree(nn.Linear):
        def forward(self, x):
            return nn.functional.one_hot(torch.full((len(x),), 3), 10).float()

    labels = torch.tensor([3, 3, 3, 7])
    assert accuracy(AlwaysThree(1, 1), small_images(4), labels) == 0.75


def test_a_prior_of_ones_own_takes_the_place_of_the_standard_normal(images):
    model, zeros = small_vae(latent=3), torch.zeros(3)
    normal = Independent(Normal(zeros, 1.0), 1)
    expected = log_likelihood(model, images, samples=7)
    torch.testing.assert_close(log_likelihood(model, images, samples=7, prior=normal), expected)
    # With one draw, the estimate changes by exactly the difference of the two log priors.
    wide = Independent(Normal(zeros + 0.5, 2.0), 1)
    mixture = MixtureSameFamily(
        Categorical(torch.tensor([0.3, 0.7])),
        MultivariateNormal(torch.randn(2, 3), torch.eye(3).expand(2, 3, 3) * 0.5),
    )
    with evaluation(model, seed=4):
        mu, logvar = model.encode(images)
        z = Normal(mu, torch.exp(0.5 * logvar)).sample((1,))[0]
    for prior in (wide, mixture):
        here, there = (
            log_likelihood(model, images, samples=1, seed=4, prior=p) for p in (prior, normal)
        )
        expected = prior.log_prob(z) - normal.log_prob(z)  # of numbers near -550
        torch.testing.assert_close(here - there, expected, rtol=0, atol=1e-3)


# --- The likelihood of a conditional model ---


class TwoLinearGaussians(LinearGaussian):
    """The label adds to the image what it says: p(x|y) is that of x - y / 10 without a label."""

    classes = 10

    def encode(self, x, y):
        return super().encode(x - y.view(-1, 1, 1, 1) / 10)

    def decode_logits(self, z, y):
        return super().decode_logits(z) + y.view(-1, 1, 1, 1) / 10


@pytest.mark.parametrize("chunk", [3, 7, 2000])
def test_likelihood_given_labels_is_that_of_the_label_of_each_image(chunk):
    x = 0.3 + 0.1 * torch.rand(9, 1, 2, 3, dtype=torch.float64)
    y = torch.tensor([0, 1, 2] * 3)
    found = log_likelihood(
        TwoLinearGaussians(), x + y.view(-1, 1, 1, 1) / 10, samples=5, chunk=chunk, labels=y
    )
    expected = log_likelihood(LinearGaussian(), x, samples=5, chunk=chunk)
    assert torch.allclose(found, expected, atol=1e-4)


def test_a_wrong_number_of_labels_is_an_error():
    for labels in (torch.zeros(5).long(), torch.zeros(4000).long()):
        with pytest.raises(ValueError):
            log_likelihood(small_conditional(), small_images(6), samples=2, labels=labels)
