"""Does each latent stand for one known factor? Two metrics that are blind in different ways."""

from vae_helpers.checks import brief, check_finite, check_whole

import numpy as np
import torch
from sklearn.ensemble import RandomForestRegressor
from sklearn.metrics import mutual_info_score


def mutual_information_gap(codes, factors, bins=20):
    """MIG: for each factor, by how much one latent knows more about it than any other latent.

    `codes` `(n, latent_dim)`, `factors` `(n, k)`: tensors. Codes are cut into `bins` of equal
    width, factors too if they have more values than that. Returns `(k,)`: the gap between the two
    largest mutual informations, as a share of the factor's entropy, 0 to 1. It is blind to a
    latent that holds two factors. Source: Chen et al. 2018, section 4.1.
    """
    check_factors(codes, factors)
    check_whole(2, bins=bins)
    latents = [to_bins(code, bins) for code in codes.T]
    gaps = []
    for factor in factors.T:
        values = factor.unique(return_inverse=True)[1].numpy()
        values = values if values.max() < bins else to_bins(factor, bins)
        information = sorted(mutual_info_score(values, latent) for latent in latents)
        gaps.append((information[-1] - information[-2]) / mutual_info_score(values, values))
    return torch.tensor(gaps)


def to_bins(values, bins):
    """The number of the bin, 0 to bins - 1, of each of the values `(n,)`."""
    check_column(values)
    check_whole(1, bins=bins)
    edges = np.histogram_bin_edges(values.numpy(), bins)
    return np.digitize(values.numpy(), edges[1:-1])


def dci_disentanglement(codes, factors, seed=0):
    """DCI's D: whether each latent matters to one factor only, 0 to 1; a number.

    A random forest predicts each factor from the codes; a latent's importances for the factors
    give 1 - entropy, weighted by how much the latent matters at all. It is blind to a factor that
    is spread over many latents. `codes` `(n, latent_dim)`, `factors` `(n, k)`: tensors.
    Source: Eastwood & Williams 2018, section 2.
    """
    check_factors(codes, factors)
    check_whole(seed=seed)
    forest = RandomForestRegressor(20, max_depth=8, random_state=seed)
    importance = np.array(
        [forest.fit(codes.numpy(), factor).feature_importances_ for factor in factors.T.numpy()]
    )  # (factors, latents)
    total = importance.sum(axis=0)
    share = importance / np.maximum(total, 1e-12)
    entropy = -(share * np.log(np.maximum(share, 1e-12))).sum(axis=0)
    disentangled = 1 - entropy / np.log(len(share))
    return float((disentangled * total).sum() / total.sum())


def check_factors(codes, factors):
    """Raise a `ValueError` unless both are `(n, columns)` with at least two columns that vary."""
    for name, values in (("codes", codes), ("factors", factors)):
        if not isinstance(values, torch.Tensor) or not values.is_floating_point():
            raise ValueError(f"{name} is {brief(values)}; expected a tensor of floats")
        rows = len(codes) if codes.ndim else 2
        if values.ndim != 2 or len(values) != rows or values.shape[1] < 2:
            raise ValueError(
                f"{name} has shape {tuple(values.shape)}; expected ({rows}, 2 or more)"
            )
        check_finite(**{name: values})
    if not (factors.amax(0) > factors.amin(0)).all():
        raise ValueError("factors has a column with one value only; nothing can be known about it")


def check_column(values):
    """Raise a `ValueError` unless `values` is a tensor `(n,)` of finite numbers."""
    if not isinstance(values, torch.Tensor) or values.ndim != 1 or values.is_complex():
        raise ValueError(f"values is {brief(values)}; expected a tensor of shape (n,)")
    check_finite(values=values)
