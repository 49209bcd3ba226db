"""Metrics of disentanglement on codes made by hand, for which the right answer is known."""

import math

from vae_helpers.disentanglement import dci_disentanglement, mutual_information_gap

import pytest
import torch

GENERATOR = torch.Generator().manual_seed(0)
FACTORS = torch.rand(2000, 3, generator=GENERATOR)
NOISE = torch.randn(2000, 3, generator=GENERATOR)


def turned(angle):
    """The factors with the first two turned into one another."""
    codes = FACTORS - 0.5
    x, y = codes[:, 0].clone(), codes[:, 1].clone()
    codes[:, 0] = math.cos(angle) * x - math.sin(angle) * y
    codes[:, 1] = math.sin(angle) * x + math.cos(angle) * y
    return codes


@pytest.mark.parametrize(
    "codes", [FACTORS, FACTORS[:, [2, 0, 1]], 5 - 3 * FACTORS, FACTORS**3], ids=range(4)
)
def test_one_latent_for_each_factor_is_nearly_1(codes):
    assert (mutual_information_gap(codes, FACTORS) > 0.6).all()
    assert dci_disentanglement(codes, FACTORS) > 0.95


def test_codes_of_noise_are_nearly_0():
    assert (mutual_information_gap(NOISE, FACTORS) < 0.05).all()
    assert dci_disentanglement(NOISE, FACTORS) < 0.2


def test_turning_two_latents_loses_these_two_factors_and_keeps_the_third():
    gap = mutual_information_gap(turned(math.pi / 4), FACTORS)
    assert (gap[:2] < 0.05).all() and gap[2] > 0.6
    assert dci_disentanglement(turned(math.pi / 4), FACTORS) < 0.75


def test_a_factor_in_two_latents_is_no_gap_but_disentangled():
    codes = torch.cat([FACTORS, FACTORS + 0.02 * NOISE], dim=1)
    assert (mutual_information_gap(codes, FACTORS) < 0.3).all()
    assert dci_disentanglement(codes, FACTORS) > 0.95


def test_two_factors_in_one_latent_are_a_gap_but_entangled():
    """Steps of 1 tell the first factor, steps of 1/4 within them the second."""
    factors = torch.randint(0, 4, (2000, 2), generator=GENERATOR).float()
    codes = torch.stack([factors[:, 0] + factors[:, 1] / 4, NOISE[:, 0]], dim=1)
    assert (mutual_information_gap(codes, factors) > 0.9).all()
    assert dci_disentanglement(codes, factors) < 0.2


def test_more_latents_than_matter_change_little():
    codes = torch.cat([FACTORS, 0.01 * NOISE], dim=1)
    gaps = [mutual_information_gap(c, FACTORS) for c in (FACTORS, codes)]
    assert torch.allclose(*gaps, atol=0.03)
    assert dci_disentanglement(codes, FACTORS) > 0.9


def test_both_repeat():
    for metric in (mutual_information_gap, dci_disentanglement):
        first, second = (torch.as_tensor(metric(NOISE, FACTORS)) for _ in range(2))
        assert torch.equal(first, second)


@pytest.mark.parametrize("metric", [mutual_information_gap, dci_disentanglement])
@pytest.mark.parametrize(
    "codes, factors, message",
    [
        (FACTORS[:, 0], FACTORS, r"codes has shape \(2000,\)"),
        (FACTORS[:, :1], FACTORS, r"codes has shape \(2000, 1\); expected \(2000, 2 or more\)"),
        (FACTORS, FACTORS[:5], r"factors has shape \(5, 3\); expected \(2000, 2 or more\)"),
        (FACTORS, FACTORS * torch.tensor([1.0, 0, 1]), "factors has a column with one value only"),
    ],
)
def test_wrong_shapes_are_errors(metric, codes, factors, message):
    with pytest.raises(ValueError, match=message):
        metric(codes, factors)
