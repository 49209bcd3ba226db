"""What students hand in: wrong answers with the hint they need, and right ones in several styles.

`WRONG[id]`: (the mistake, a word that its hint must contain, the answer). `RIGHT[id]`: style ->
answer. They are spelled differently from the tables in vae_helpers.exercises on purpose:
recognition must not depend on spelling.
"""

import math
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch.distributions import Bernoulli, Categorical, Independent, Normal
from torch.distributions import kl_divergence as torch_kl

WRONG, RIGHT = {}, {}


def normal(mu, logvar):
    return Normal(mu, torch.exp(logvar / 2))


# --- 01 ---


def count_in_layers(widths):
    layers = [torch.nn.Linear(a, b) for a, b in pairwise(widths)]
    return sum(p.numel() for p in torch.nn.Sequential(*layers).parameters())


def count_in_a_loop(widths):
    total = 0
    for i in range(1, len(widths)):
        total += widths[i] * (widths[i - 1] + 1)
    return total


RIGHT["01.parameters"] = {
    "by hand": lambda w: sum((a + 1) * b for a, b in pairwise(w)),
    "loop": count_in_a_loop,
    "torch.nn": count_in_layers,
    "numpy": lambda w: int((np.array(w[:-1]) * w[1:]).sum() + np.sum(w[1:])),
}
WRONG["01.parameters"] = (
    ("no biases", "biases are missing",
     lambda w: sum(w[i] * w[i + 1] for i in range(len(w) - 1))),
    ("a bias for each input", "not for each of its inputs",
     lambda w: sum(w[i] * (w[i + 1] + 1) for i in range(len(w) - 1))),
    ("input layer has biases", "input has no bias",
     lambda w: count_in_a_loop(w) + w[0]),
    ("one bias a layer", "one bias", lambda w: sum(a * b for a, b in pairwise(w)) + len(w) - 1),
    ("forgets the last layer", "last layer", lambda w: count_in_a_loop(w[:-1])),
    ("counts units", "units", lambda w: int(np.sum(w))),
    ("multiplies layers", "multiplied", lambda w: math.prod(w)),
    ("a float", "int64", lambda w: float(count_in_a_loop(w))),
)  # fmt: skip


def squared_error_loop(logits, x):
    losses = []
    for logit, image in zip(logits, x, strict=True):
        losses.append((1 / (1 + torch.exp(-logit)) - image).pow(2).sum())
    return torch.stack(losses)


RIGHT["01.squared_error"] = {
    "vectorised": lambda l, x: (x - l.sigmoid()).pow(2).sum(dim=(1, 2, 3)),
    "loop": squared_error_loop,
    "functional": lambda l, x: F.mse_loss(l.sigmoid(), x, reduction="none").flatten(1).sum(1),
    "einsum": lambda l, x: torch.einsum("nchw,nchw->n", l.sigmoid() - x, l.sigmoid() - x),
}
WRONG["01.squared_error"] = (
    ("no sigmoid", "sigmoid is missing", lambda l, x: F.mse_loss(l, x, reduction="none")
     .sum(dim=(1, 2, 3))),
    ("sigmoid twice", "twice", lambda l, x: RIGHT["01.squared_error"]["loop"](l.sigmoid(), x)),
    ("mean over pixels", "mean over the pixels",
     lambda l, x: (l.sigmoid() - x).square().mean(dim=(1, 2, 3))),
    ("F.mse_loss", "mean", lambda l, x: F.mse_loss(l.sigmoid(), x)),
    ("batch mean", "averaged into one", lambda l, x: squared_error_loop(l, x).mean()),
    ("absolute values", "squared", lambda l, x: F.l1_loss(l.sigmoid(), x, reduction="none")
     .flatten(1).sum(1)),
    ("root", "root", lambda l, x: squared_error_loop(l, x).sqrt()),
    ("sums over the batch", "batch", lambda l, x: ((l.sigmoid() - x) ** 2).sum()),
    ("half", "0.5 times", lambda l, x: 0.5 * squared_error_loop(l, x)),
    ("channels kept", "channel", lambda l, x: ((l.sigmoid() - x) ** 2).sum(-1).sum(-1)),
)  # fmt: skip


def walk(a, b, steps):
    codes = []
    for i in range(steps):
        t = i / (steps - 1)
        codes.append((1 - t) * a + t * b)
    return torch.stack(codes)


def walk_numpy(a, b, steps):
    return torch.from_numpy(np.linspace(a.numpy(), b.numpy(), steps))


RIGHT["01.interpolate"] = {
    "vectorised": lambda a, b, n: a + torch.arange(n)[:, None] / (n - 1) * (b - a),
    "loop": walk,
    "numpy": walk_numpy,
    "outer": lambda a, b, n: a + torch.outer(torch.linspace(0, 1, n).to(a), b - a),
}
WRONG["01.interpolate"] = (
    ("reversed", "reversed", lambda a, b, n: walk(b, a, n)),
    ("never arrives", "never arrives", lambda a, b, n: walk(a, b, n + 1)[:-1]),
    ("starts late", "first code", lambda a, b, n: walk(a, b, n + 1)[1:]),
    ("both ends missing", "both ends", lambda a, b, n: walk(a, b, n + 2)[1:-1]),
    ("steps only", "start is missing", lambda a, b, n: walk(a, b, n) - a),
    ("a + t b", "a + b", lambda a, b, n: a + torch.linspace(0, 1, n).to(a)[:, None] * b),
    ("one too many", "too many", lambda a, b, n: walk(a, b, n + 1)),
    ("transposed", "swapped", lambda a, b, n: walk(a, b, n).T),
    ("a list", "list", lambda a, b, n: list(walk(a, b, n))),
)  # fmt: skip


# --- 02 ---


def threshold(x):
    return torch.where(x > 0.5, 1.0, 0.0).to(x)


def coin(x):
    return (torch.rand_like(x) < 0.5).to(x)


def binarize_loop(x):
    result = torch.zeros_like(x)
    for i in range(len(x)):
        result[i] = (torch.rand(x.shape[1:]) < x[i]).to(x)
    return result


def seeded(x):
    generator = torch.Generator().manual_seed(0)
    return torch.bernoulli(x, generator=generator)


def binarize_in_place(x):
    return x.copy_(torch.bernoulli(x))


RIGHT["02.binarize"] = {
    "vectorised": lambda x: (torch.rand_like(x) < x).to(x.dtype),
    "loop": binarize_loop,
    "torch.distributions": lambda x: Bernoulli(probs=x).sample(),
    "numpy": lambda x: torch.from_numpy(np.random.default_rng().binomial(1, x.numpy())).to(x),
}
WRONG["02.binarize"] = (
    ("threshold", "threshold", threshold),
    ("rounds", "threshold", lambda x: x.round()),
    ("grey values stay", "unchanged", lambda x: x),
    ("noise, not a draw", "0 or 1", lambda x: (x + 0.1 * torch.randn_like(x)).clamp(0, 1)),
    ("turned round", "turned round", lambda x: (torch.rand_like(x) > x).to(x)),
    ("fair coin", "probability", coin),
    ("one draw for all images", "same draw", lambda x: (torch.rand_like(x[:1]) < x).to(x)),
    ("one number an image", "random number", lambda x: (torch.rand(len(x), 1, 1, 1) < x).to(x)),
    ("fixed seed", "seed", seeded),
    ("truth values", "bool", lambda x: torch.rand_like(x) < x),
    ("in place", "in place", binarize_in_place),
)  # fmt: skip


def nll_loop(logits, x):
    total = []
    for logit, image in zip(logits, x, strict=True):
        total.append((F.softplus(logit) - image * logit).sum())
    return torch.stack(total)


def naive_nll(logits, x):
    p = 1 / (1 + torch.exp(-logits))
    return -(x * torch.log(p) + (1 - x) * torch.log(1 - p)).sum(dim=(1, 2, 3))


def logits_bce(logits, x, reduction="none"):
    return F.binary_cross_entropy_with_logits(logits, x, reduction=reduction)


RIGHT["02.bernoulli_nll"] = {
    "vectorised": lambda l, x: (F.softplus(l) - x * l).sum(dim=(1, 2, 3)),
    "loop": nll_loop,
    "torch.distributions": lambda l, x: -Independent(
        Bernoulli(logits=l), 3).log_prob(x),
    "functional": lambda l, x: logits_bce(l, x).flatten(1).sum(-1),
    "logsigmoid": lambda l, x: -(x * F.logsigmoid(l) + (1 - x) * F.logsigmoid(-l))
    .sum(dim=(1, 2, 3)),
}  # fmt: skip
WRONG["02.bernoulli_nll"] = (
    ("squared error", "squared error", lambda l, x: (l.sigmoid() - x).square().sum(dim=(1, 2, 3))),
    ("mean over pixels", "mean over the pixels", lambda l, x: logits_bce(l, x).mean(dim=(1, 2, 3))),
    ("reduction mean", "mean over all", lambda l, x: logits_bce(l, x, "mean")),
    ("reduction sum", "summed into one", lambda l, x: logits_bce(l, x, "sum")),
    ("batch mean", "averaged into one", lambda l, x: nll_loop(l, x).mean()),
    ("sigmoid twice", "twice", lambda l, x: nll_loop(torch.sigmoid(l), x)),
    ("logits as probabilities", "probabilities",
     lambda l, x: F.binary_cross_entropy(l, x, reduction="none").sum(dim=(1, 2, 3))),
    ("log of logits", "probabilities",
     lambda l, x: -(x * torch.log(l) + (1 - x) * torch.log1p(-l)).sum(dim=(1, 2, 3))),
    ("log-likelihood", "sign", lambda l, x: Bernoulli(logits=l).log_prob(x)
     .sum(dim=(1, 2, 3))),
    ("only white pixels", "white", lambda l, x: (x * F.softplus(-l)).sum(dim=(1, 2, 3))),
    ("only black pixels", "black", lambda l, x: ((1 - x) * F.softplus(l)).sum(dim=(1, 2, 3))),
    ("black for white", "swapped", lambda l, x: nll_loop(l, 1 - x)),
    ("arguments swapped", "arguments", lambda l, x: nll_loop(x, l)),
    ("log of a sigmoid", "logits themselves", naive_nll),
    ("BCE of a sigmoid", "logits themselves", lambda l, x: F.binary_cross_entropy(
        torch.sigmoid(l), x, reduction="none").sum(dim=(1, 2, 3))),
    ("clamped sigmoid", "logits themselves", lambda l, x: F.binary_cross_entropy(
        torch.sigmoid(l).clamp(1e-7, 1 - 1e-7), x, reduction="none").sum(dim=(1, 2, 3))),
    ("detached", "gradient", lambda l, x: nll_loop(l.detach(), x)),
    ("sums over rows", "channel", lambda l, x: logits_bce(l, x).sum(-1).sum(-1)),
)  # fmt: skip


def kl_loop(mu, logvar):
    rows = []
    for m, v in zip(mu, logvar, strict=True):
        kl = 0
        for j in range(len(m)):
            kl = kl + (m[j] * m[j] + math.e ** v[j] - v[j] - 1) / 2
        rows.append(kl)
    return torch.stack(rows)


def kl_einsum(mu, logvar):
    ones = torch.ones_like(mu)
    squares = torch.einsum("nd,nd->n", mu, mu)
    return 0.5 * (squares + torch.einsum("nd,nd->n", torch.expm1(logvar) - logvar, ones))


def kl_no_grad(mu, logvar):
    with torch.no_grad():
        return kl_loop(mu, logvar)


def kl_changes_mu(mu, logvar):
    mu *= mu
    return 0.5 * (mu + logvar.exp() - 1 - logvar).sum(1)


def kl_of_copies(mu, logvar):
    return torch.tensor([value.item() for value in kl_loop(mu, logvar)])


RIGHT["02.kl"] = {
    "vectorised": lambda m, v: -0.5 * torch.sum(1 + v - m.pow(2) - torch.exp(v), dim=-1),
    "loop": kl_loop,
    "torch.distributions": lambda m, v: torch_kl(normal(m, v), Normal(0.0, 1.0)).sum(-1),
    "einsum": kl_einsum,
}
WRONG["02.kl"] = (
    ("sign", "sign", lambda m, v: 0.5 * (1 + v - m * m - v.exp()).sum(-1)),
    ("sign and batch mean", "sign", lambda m, v: -kl_loop(m, v).mean()),
    ("no half", "half", lambda m, v: (m.square() + v.exp() - v - 1).sum(-1)),
    ("no half, batch sum", "half", lambda m, v: -(1 + v - m**2 - v.exp()).sum()),
    ("mean over latents", "mean over the latents", lambda m, v: kl_loop(m, v) / m.size(-1)),
    ("mean of everything", "mean over the latents",
     lambda m, v: -0.5 * (1 + v - m**2 - v.exp()).mean()),
    ("sum over the batch axis", "axis", lambda m, v: kl_loop(m.T, v.T)),
    ("batch mean", "averaged into one", lambda m, v: kl_loop(m, v).mean()),
    ("sum of everything", "summed into one",
     lambda m, v: -0.5 * torch.sum(1 + v - m**2 - v.exp())),
    ("sigma for log sigma^2", "sigma",
     lambda m, v: 0.5 * (m**2 + v.square() - 1 - v.square().log()).sum(1)),
    ("variance for log variance", "variance",
     lambda m, v: 0.5 * (m**2 + v - 1 - torch.log(v)).sum(1)),
    ("exp(logvar / 2)", "sigma", lambda m, v: 0.5 * (m**2 + torch.sqrt(v.exp()) - 1 - v).sum(1)),
    ("logvar as log sigma", "log sigma",
     lambda m, v: torch_kl(Normal(m, v.exp()), Normal(0.0, 1.0)).sum(1)),
    ("no constant", "constant", lambda m, v: kl_loop(m, v) + m.size(1) / 2),
    ("mu not squared", "squared", lambda m, v: 0.5 * (m + v.exp() - 1 - v).sum(1)),
    ("mu missing", "mean plays no part", lambda m, v: kl_loop(0 * m, v)),
    ("other direction", "direction",
     lambda m, v: torch_kl(Normal(0.0, 1.0), normal(m, v)).sum(1)),
    ("no sum", "sum over the latents is missing",
     lambda m, v: torch_kl(normal(m, v), Normal(0.0, 1.0))),
    ("half not before all", "all terms", lambda m, v: kl_loop(m, v) - v.sum(1) / 2),
    ("plus 1", "constant has the wrong sign", lambda m, v: kl_loop(m, v) + m.size(1)),
    ("zeros", "every value is 0", lambda m, v: torch.zeros(len(m))),
    ("keepdim", "dimension too many", lambda m, v: kl_loop(m, v)[:, None]),
    ("no_grad", "gradient", kl_no_grad),
    ("logvar detached", "gradient", lambda m, v: kl_loop(m, v.detach())),
    ("numbers", "gradient", kl_of_copies),
    ("changes mu in place", "in place", kl_changes_mu),
    ("clamped", "clamped", lambda m, v: kl_loop(m, v.clamp(-10, 10))),
)  # fmt: skip


def kl_two_right(a, k, b, l):
    return torch_kl(normal(a, k), normal(b, l)).sum(-1)


def kl_two_loop(a, k, b, l):
    total = torch.zeros(len(a), dtype=a.dtype)
    for j in range(a.shape[1]):
        distance = (a[:, j] - b[:, j]) ** 2 * torch.exp(-l[:, j])
        total = total + 0.5 * (torch.exp(k[:, j] - l[:, j]) + distance - 1 - k[:, j] + l[:, j])
    return total


RIGHT["02.kl_two"] = {
    "vectorised": lambda a, k, b, l: (
        0.5 * ((k - l).exp() + ((a - b) / (0.5 * l).exp()) ** 2 - 1 - (k - l)).sum(dim=1)
    ),
    "loop": kl_two_loop,
    "torch.distributions": kl_two_right,
}
WRONG["02.kl_two"] = (
    ("other direction", "direction", lambda a, k, b, l: kl_two_loop(b, l, a, k)),
    ("sign", "sign", lambda a, k, b, l: -kl_two_loop(a, k, b, l)),
    ("no half", "half", lambda a, k, b, l: kl_two_loop(a, k, b, l) * 2),
    ("mean over latents", "mean over the latents",
     lambda a, k, b, l: torch_kl(normal(a, k), normal(b, l)).mean(1)),
    ("wrong axis", "axis", lambda a, k, b, l: torch_kl(normal(a, k), normal(b, l)).sum(0)),
    ("second ignored", "plays no part", lambda a, k, b, l: kl_loop(a, k)),
    ("means not squared", "squared",
     lambda a, k, b, l: 0.5 * (l - k + (k.exp() + (a - b)) / l.exp() - 1).sum(1)),
    ("distance not scaled", "widths",
     lambda a, k, b, l: 0.5 * ((k - l).exp() + (a - b) ** 2 - 1 + l - k).sum(1)),
    ("difference of KLs", "difference", lambda a, k, b, l: kl_loop(a, k) - kl_loop(b, l)),
    ("no constant", "constant",
     lambda a, k, b, l: 0.5 * ((k.exp() + (a - b) ** 2) / l.exp() + l - k).sum(1)),
    ("sign of the log ratio", "wrong sign",
     lambda a, k, b, l: 0.5 * ((k.exp() + (a - b) ** 2) / l.exp() - 1 + k - l).sum(1)),
    ("batch mean", "averaged", lambda a, k, b, l: kl_two_right(a, k, b, l).mean()),
    ("logvar as log sigma", "log sigma",
     lambda a, k, b, l: torch_kl(Normal(a, k.exp()), Normal(b, l.exp())).sum(1)),
)  # fmt: skip


# --- 03 ---


def reparameterize_loop(mu, logvar):
    return torch.stack(
        [m + v.mul(0.5).exp() * torch.randn_like(m) for m, v in zip(mu, logvar, strict=True)]
    )


def fixed_noise(mu, logvar):
    eps = torch.randn(mu.shape, generator=torch.Generator().manual_seed(0))
    return mu + (0.5 * logvar).exp() * eps


def with_width(width):
    return lambda mu, logvar: mu + width(logvar) * torch.randn_like(mu)


RIGHT["03.reparameterize"] = {
    "vectorised": lambda m, v: torch.addcmul(m, torch.exp(v).sqrt(), torch.randn_like(m)),
    "loop": reparameterize_loop,
    "torch.distributions": lambda m, v: normal(m, v).rsample(),
    "numpy noise": lambda m, v: m + (0.5 * v).exp()
    * torch.from_numpy(np.random.default_rng().standard_normal(m.shape)).to(m),
}  # fmt: skip
WRONG["03.reparameterize"] = (
    ("half outside", "half", with_width(lambda v: v.exp() / 2)),
    ("softplus", "softplus", with_width(lambda v: torch.log1p(v.exp()))),
    ("exp(logvar)", "variance", with_width(torch.exp)),
    ("logvar as sigma", "logvar itself", with_width(lambda v: v)),
    ("no width", "plays no part", with_width(torch.ones_like)),
    ("no noise", "noise", lambda m, v: m * 1),
    ("same noise for all rows", "rows",
     lambda m, v: m + (0.5 * v).exp() * torch.randn(1, m.shape[1])),
    ("same noise for all latents", "latents",
     lambda m, v: m + (0.5 * v).exp() * torch.randn(len(m), 1)),
    ("uniform noise in [0, 1]", "mean 0", lambda m, v: m + (0.5 * v).exp() * torch.rand_like(m)),
    ("uniform noise of width 1", "normal",
     lambda m, v: m + (0.5 * v).exp() * (torch.rand_like(m) - 0.5) * 12**0.5),
    ("sample()", "detached", lambda m, v: normal(m, v).sample()),
    ("torch.normal", "gradient for mu is zero", lambda m, v: torch.normal(m, (0.5 * v).exp())),
    ("width detached", "logvar",
     lambda m, v: m + (0.5 * v).exp().detach() * torch.randn_like(m)),
    ("fixed seed", "seed", fixed_noise),
    ("sign of logvar", "sign", with_width(lambda v: 1 / torch.sqrt(v.exp()))),
    ("exp(2 logvar)", "square of the variance", with_width(lambda v: v.exp() ** 2)),
    ("root of the width", "root of the width", with_width(lambda v: v.exp() ** 0.25)),
    ("noise of the wrong shape", "shape",
     lambda m, v: m[:, None] + (0.5 * v)[:, None].exp() * torch.randn(len(m), 2, m.shape[1])),
)  # fmt: skip


def score_loop(f, z, mu, logvar):
    rows = []
    for value, draw in zip(f, z, strict=True):
        rows.append(value * (draw - mu) * torch.exp(-logvar))
    return torch.stack(rows)


def score_autograd(f, z, mu, logvar):
    means = mu.expand_as(z).clone().requires_grad_()
    log_q = normal(means, logvar).log_prob(z).sum()
    return f.unsqueeze(1) * torch.autograd.grad(log_q, means)[0]


RIGHT["03.score_function"] = {
    "vectorised": lambda f, z, m, v: torch.einsum("n,nd->nd", f, (z - m) / v.exp()),
    "loop": score_loop,
    "torch.distributions": score_autograd,
}
WRONG["03.score_function"] = (
    ("divided by sigma", "width", lambda f, z, m, v: f[:, None] * (z - m) / v.exp().sqrt()),
    ("not divided", "width of q is missing", lambda f, z, m, v: (f * (z - m).T).T),
    ("divided by logvar", "logvar", lambda f, z, m, v: f[:, None] * (z - m) / v),
    ("multiplied", "division", lambda f, z, m, v: f[:, None] * (z - m) * torch.exp(v)),
    ("sign", "sign", lambda f, z, m, v: -score_loop(f, z, m, v)),
    ("no f", "f is missing", lambda f, z, m, v: score_loop(torch.ones_like(f), z, m, v)),
    ("broadcasting", "broadcasting", lambda f, z, m, v: (z - m) / v.exp() * f),
    ("average over draws", "averaged", lambda f, z, m, v: score_loop(f, z, m, v).mean(dim=0)),
    ("sum over latents", "latents", lambda f, z, m, v: score_loop(f, z, m, v).sum(dim=1)),
    ("no mu", "mu is missing", lambda f, z, m, v: score_loop(f, z, 0 * m, v)),
)  # fmt: skip


def slope(f, z):
    z = z.clone().requires_grad_()
    f(z).sum().backward()
    return z.grad


def pathwise_autograd(f, mu, logvar, eps):
    mu = mu.expand_as(eps).clone().requires_grad_()
    logvar = logvar.expand_as(eps).clone().requires_grad_()
    return torch.autograd.grad(f(mu + (0.5 * logvar).exp() * eps).sum(), (mu, logvar))


def pathwise_by_hand(f, mu, logvar, eps):
    g = slope(f, mu + torch.exp(logvar / 2) * eps)
    return g, g * eps * torch.exp(logvar / 2) / 2


def pathwise_loop(f, mu, logvar, eps):
    rows = [pathwise_by_hand(f, mu, logvar, e[None]) for e in eps]
    return tuple(torch.cat(part) for part in zip(*rows, strict=True))


def pathwise_rsample(f, mu, logvar, eps):
    mu, logvar = (p.expand_as(eps).clone().requires_grad_() for p in (mu, logvar))
    q = normal(mu, logvar)
    return list(torch.autograd.grad(f(q.loc + q.scale * eps).sum(), (mu, logvar)))


def second_as(change):
    def answer(f, mu, logvar, eps):
        first, second = pathwise_by_hand(f, mu, logvar, eps)
        return first, change(second, first, torch.exp(logvar / 2), eps)

    return answer


RIGHT["03.pathwise"] = {
    "by hand": pathwise_by_hand,
    "loop": pathwise_loop,
    "autograd": pathwise_autograd,
    "torch.distributions": pathwise_rsample,
}
WRONG["03.pathwise"] = (
    ("no half", "half", second_as(lambda h, g, s, e: 2 * h)),
    ("for sigma", "for sigma", second_as(lambda h, g, s, e: g * e)),
    ("no noise", "noise", second_as(lambda h, g, s, e: g * s / 2)),
    ("variance for width", "variance", second_as(lambda h, g, s, e: h * s)),
    ("no chain rule", "chain rule", second_as(lambda h, g, s, e: g * e / 2)),
    ("swapped", "swapped", lambda *args: pathwise_by_hand(*args)[::-1]),
    ("averaged", "averaged", lambda *args: tuple(p.mean(0) for p in pathwise_by_hand(*args))),
    ("z too wide", "wrong width", lambda f, m, v, e: (
        slope(f, m + v.exp() * e), slope(f, m + v.exp() * e) * v.exp() * e / 2)),
    ("only one", "tensor of shape", lambda *args: pathwise_by_hand(*args)[0]),
    ("at mu", "at z", lambda f, m, v, e: (
        slope(f, m + 0 * e), slope(f, m + 0 * e) * (v / 2).exp() * e / 2)),
)  # fmt: skip


# --- 04 ---


def split_numpy(n, share, seed):
    order = torch.from_numpy(np.random.default_rng(seed).permutation(n))
    cut = n - round(n * share)
    return order[:cut], order[cut:]


def split_loop(n, share, seed):
    rows = list(range(n))
    generator = torch.Generator().manual_seed(seed)
    apart = []
    for _ in range(round(n * share)):
        apart.append(rows.pop(torch.randint(len(rows), (1,), generator=generator).item()))
    kept = torch.tensor(rows, dtype=torch.int64)
    kept = kept[torch.randperm(len(kept), generator=generator)]
    return kept, torch.tensor(apart, dtype=torch.int64)


def split_random(n, share, seed):
    torch.manual_seed(seed)
    parts = torch.utils.data.random_split(range(n), [n - round(n * share), round(n * share)])
    return tuple(torch.tensor(part.indices, dtype=torch.int64) for part in parts)


def shuffled(n, seed):
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def with_replacement(n, share, seed):
    generator = torch.Generator().manual_seed(seed)
    held_out = torch.randint(n, (round(n * share),), generator=generator)
    kept = [i for i in range(n) if i not in set(held_out.tolist())]
    return torch.tensor(kept, dtype=torch.int64), held_out


RIGHT["04.split"] = {
    "numpy": split_numpy,
    "loop": split_loop,
    "random_split": split_random,
    "randperm": lambda n, s, seed: shuffled(n, seed).split([n - round(n * s), round(n * s)]),
}
WRONG["04.split"] = (
    ("not shuffled", "shuffled", lambda n, s, seed: (
        torch.arange(n - round(n * s)), torch.arange(n - round(n * s), n))),
    ("swapped", "swapped", lambda n, s, seed: split_numpy(n, s, seed)[::-1]),
    ("overlap", "overlap", lambda n, s, seed: (shuffled(n, seed),
     shuffled(n, seed)[: round(n * s)])),
    ("replacement", "replacement", with_replacement),
    ("two shuffles", "overlap", lambda n, s, seed: (shuffled(n, seed)[round(n * s):],
     shuffled(n, seed + 1)[: round(n * s)])),
    ("no seed", "one seed", lambda n, s, seed: torch.randperm(n).split(
        [n - round(n * s), round(n * s)])),
    ("fixed seed", "plays no part", lambda n, s, seed: split_numpy(n, s, 0)),
    ("cut off", "size", lambda n, s, seed: (
        shuffled(n, seed)[int(n * s):], shuffled(n, seed)[: int(n * s)])),
    ("a row lost", "lost", lambda n, s, seed: (
        shuffled(n, seed)[round(n * s) + 1 :], shuffled(n, seed)[: round(n * s)])),
    ("from 1 to n", "do not exist", lambda n, s, seed: tuple(
        part + 1 for part in split_numpy(n, s, seed))),
    ("sorted", "shuffled", lambda n, s, seed: tuple(
        part.sort().values for part in split_numpy(n, s, seed))),
)  # fmt: skip


def elbo_loop(logits, x, mu, logvar, beta):
    return nll_loop(logits, x) + beta * kl_loop(mu, logvar)


def elbo_distributions(logits, x, mu, logvar, beta):
    log_p = Bernoulli(logits=logits).log_prob(x).flatten(1).sum(1)
    return beta * torch_kl(normal(mu, logvar), Normal(0.0, 1.0)).sum(1) - log_p


def elbo_vectorised(logits, x, mu, logvar, beta):
    nll = logits_bce(logits, x).sum(dim=(1, 2, 3))
    return nll - 0.5 * beta * (1 + logvar - mu**2 - logvar.exp()).sum(dim=1)


RIGHT["04.negative_elbo"] = {
    "vectorised": elbo_vectorised,
    "loop": elbo_loop,
    "torch.distributions": elbo_distributions,
}
WRONG["04.negative_elbo"] = (
    ("beta on the nll", "reconstruction",
     lambda l, x, m, v, b: b * nll_loop(l, x) + kl_loop(m, v)),
    ("KL subtracted", "subtracted", lambda l, x, m, v, b: nll_loop(l, x) - b * kl_loop(m, v)),
    ("sign inside the KL", "subtracted", lambda l, x, m, v, b: nll_loop(l, x)
     + b * 0.5 * (1 + v - m**2 - v.exp()).sum(1)),
    ("beta on both", "both", lambda l, x, m, v, b: b * elbo_loop(l, x, m, v, 1)),
    ("the ELBO", "sign", lambda l, x, m, v, b: -elbo_loop(l, x, m, v, b)),
    ("no beta", "plays no part", lambda l, x, m, v, b: elbo_loop(l, x, m, v, 1.0)),
    ("no KL", "missing", lambda l, x, m, v, b: nll_loop(l, x)),
    ("batch mean", "averaged", lambda l, x, m, v, b: elbo_loop(l, x, m, v, b).mean()),
    ("mean of pixels", "pixels", lambda l, x, m, v, b: logits_bce(l, x).mean((1, 2, 3))
     + b * kl_loop(m, v)),
    ("reduction mean", "pixels", lambda l, x, m, v, b: logits_bce(l, x, "mean")
     + b * kl_loop(m, v).mean()),
    ("mean of latents", "latents", lambda l, x, m, v, b: nll_loop(l, x)
     + b * kl_loop(m, v) / m.shape[1]),
    ("KL averaged alone", "averaged", lambda l, x, m, v, b: nll_loop(l, x)
     + b * kl_loop(m, v).mean()),
    ("no half", "half", lambda l, x, m, v, b: nll_loop(l, x) + 2 * b * kl_loop(m, v)),
    ("sum over the batch", "summed", lambda l, x, m, v, b: logits_bce(l, x, "sum")
     + b * kl_loop(m, v).sum()),
    ("codes detached", "gradient", lambda l, x, m, v, b: elbo_loop(l, x, m.detach(), v, b)),
)  # fmt: skip


def per_digit_loop(loss, labels):
    means = torch.full((10,), torch.nan, dtype=loss.dtype)
    for digit in range(10):
        values = [value for value, label in zip(loss, labels, strict=True) if label == digit]
        if values:
            means[digit] = sum(values) / len(values)
    return means


def per_digit_numpy(loss, labels):
    y = labels.numpy()
    with np.errstate(invalid="ignore"):
        means = np.bincount(y, loss.numpy(), minlength=10) / np.bincount(y, minlength=10)
    return torch.from_numpy(means)


def sums(loss, labels):
    return F.one_hot(labels, 10).to(loss).T @ loss


RIGHT["04.loss_per_digit"] = {
    "vectorised": lambda loss, y: sums(loss, y) / F.one_hot(y, 10).sum(0),
    "loop": per_digit_loop,
    "numpy": per_digit_numpy,
}
WRONG["04.loss_per_digit"] = (
    ("sums", "sums", sums),
    ("divided by all", "all images", lambda loss, y: sums(loss, y) / y.numel()),
    ("mean of all", "labels play no part", lambda loss, y: torch.full((10,), loss.mean().item())),
    ("present digits only", "ten places", lambda loss, y: torch.stack(
        [loss[y == d].mean() for d in sorted(set(y.tolist()))])),
    ("0 for absent", "nan", lambda loss, y: torch.nan_to_num(per_digit_loop(loss, y))),
    ("counts", "counts", lambda loss, y: F.one_hot(y, 10).sum(0)),
    ("shifted", "shifted", lambda loss, y: per_digit_loop(loss, y - 1)),
    ("nine digits", "9", lambda loss, y: per_digit_loop(loss, y)[:9]),
    ("all others", "other digits", lambda loss, y: torch.stack(
        [loss[~(y == d)].mean() for d in range(10)])),
    ("a dict", "dict", lambda loss, y: dict(enumerate(per_digit_loop(loss, y).tolist()))),
)  # fmt: skip


RIGHT["04.kl_per_latent"] = {
    "vectorised": lambda m, v: -0.5 * (1 + v - m**2 - v.exp()).mean(dim=0),
    "loop": lambda m, v: torch.stack(
        [kl_loop(m[:, [j]], v[:, [j]]).mean() for j in range(m.shape[1])]),
    "torch.distributions": lambda m, v: torch_kl(normal(m, v), Normal(0.0, 1.0)).mean(0),
}  # fmt: skip
WRONG["04.kl_per_latent"] = (
    ("sum over images", "sum over the images", lambda m, v: kl_loop(m.T, v.T)),
    ("per image", "axis", kl_loop),
    ("mean over latents", "axis", lambda m, v: kl_loop(m, v) / m.shape[1]),
    ("one number", "whole KL", lambda m, v: kl_loop(m, v).mean()),
    ("no mean", "mean over the images is missing",
     lambda m, v: torch_kl(normal(m, v), Normal(0.0, 1.0))),
    ("no half", "half", lambda m, v: (m**2 + v.exp() - v - 1).mean(0)),
    ("sign", "sign", lambda m, v: 0.5 * (1 + v - m**2 - v.exp()).mean(0)),
    ("KL of means", "mean code", lambda m, v: torch_kl(
        normal(m.mean(0), v.mean(0)), Normal(0.0, 1.0))),
    ("keepdim", "shape", lambda m, v: torch_kl(normal(m, v), Normal(0.0, 1.0))
     .mean(0, keepdim=True)),
    ("divided by latents", "divided", lambda m, v: kl_loop(m.T, v.T) / m.numel()),
)  # fmt: skip


def active_loop(mu, logvar, threshold):
    used = []
    for code in mu.T:
        used.append(sum((c - code.mean()) ** 2 for c in code).item() / len(code) > threshold)
    return torch.tensor(used)


RIGHT["04.active_units"] = {
    "vectorised": lambda m, v, t: torch.var(m, dim=0, correction=0).gt(t),
    "loop": active_loop,
    "numpy": lambda m, v, t: torch.from_numpy(np.var(m.numpy(), axis=0) > t),
    "covariance": lambda m, v, t: torch.atleast_2d(torch.cov(m.T)).diagonal() > t,
}
WRONG["04.active_units"] = (
    ("std", "standard deviation", lambda m, v, t: m.std(dim=0) > t),
    ("variance of z", "variance of z", lambda m, v, t: m.var(0) + torch.exp(v).mean(0) > t),
    ("width of q", "width", lambda m, v, t: v.exp().mean(dim=0) > t),
    ("not centred", "not subtracted", lambda m, v, t: m.pow(2).mean(0) > t),
    ("side", "side", lambda m, v, t: ~(m.var(0) > t)),
    ("axis", "axis", lambda m, v, t: m.var(dim=1) > t),
    ("count", "how many", lambda m, v, t: int((m.var(0) > t).sum())),
    ("variances", "compare", lambda m, v, t: torch.var(m, 0)),
    ("KL", "KL", lambda m, v, t: RIGHT["04.kl_per_latent"]["loop"](m, v) > t),
    ("fixed threshold", "fixed", lambda m, v, t: m.var(0) > 0.01),
    ("0 and 1", "float32", lambda m, v, t: (m.var(0) > t).float()),
    ("a list", "list", lambda m, v, t: (m.var(0) > t).tolist()),
)  # fmt: skip


# --- 05 ---


def slide(n, kernel, stride, padding):
    """Count the places of the kernel."""
    places = 0
    for start in range(-padding, n + padding, stride):
        places += start + kernel <= n + padding
    return places


def conv_by_torch(n, kernel, stride, padding):
    picture = torch.zeros(1, 1, 1, n)
    return torch.nn.Conv2d(1, 1, (1, kernel), (1, stride), (0, padding))(picture).shape[-1]


RIGHT["05.conv_size"] = {
    "formula": lambda n, k, s, p: 1 + math.floor((n - k + 2 * p) / s),
    "loop": slide,
    "torch.nn": conv_by_torch,
}
WRONG["05.conv_size"] = (
    ("float", "whole number", lambda n, k, s, p: 1 + (n - k + 2 * p) / s),
    ("rounded up", "rounded up", lambda n, k, s, p: 1 - -(n - k + 2 * p) // s),
    ("no 1", "not counted", lambda n, k, s, p: int((n + 2 * p - k) / s)),
    ("padding once", "both sides", lambda n, k, s, p: slide(n, k, s, 0) + 0 * p
     if p == 0 else (n + p - k) // s + 1),
    ("no padding", "plays no part", lambda n, k, s, p: slide(n, k, s, 0)),
    ("padding inwards", "wider", lambda n, k, s, p: slide(n, k, s, -p)),
    ("1 too early", "before the division", lambda n, k, s, p: (n + 2 * p - k + 1) // s),
    ("n // stride", "divided by the stride", lambda n, k, s, p: math.floor(n / s)),
    ("no stride", "stride plays no part", lambda n, k, s, p: slide(n, k, 1, p)),
)  # fmt: skip


def transposed_by_torch(n, kernel, stride, padding, output_padding):
    layer = torch.nn.ConvTranspose1d(1, 1, kernel, stride, padding, output_padding)
    return layer(torch.zeros(1, 1, n)).shape[-1]


def paint(n, kernel, stride, padding, output_padding):
    """Count the pixels that n kernels paint."""
    painted = set()
    for i in range(n):
        painted |= set(range(i * stride, i * stride + kernel))
    return max(painted) + 1 - 2 * padding + output_padding


RIGHT["05.transposed_size"] = {
    "formula": lambda n, k, s, p, o: s * n - s + k - p - p + o,
    "loop": paint,
    "torch.nn": transposed_by_torch,
}
WRONG["05.transposed_size"] = (
    ("output padding ignored", "output padding", lambda n, k, s, p, o: paint(n, k, s, p, 0)),
    ("output padding twice", "one side", lambda n, k, s, p, o: paint(n, k, s, p, 2 * o)),
    ("padding once", "both sides", lambda n, k, s, p, o: paint(n, k, s, 0, o) - p),
    ("no padding", "plays no part", lambda n, k, s, p, o: paint(n, k, s, 0, o)),
    ("padding added", "narrower", lambda n, k, s, p, o: paint(n, k, s, -p, o)),
    ("n gaps", "gaps", lambda n, k, s, p, o: s * n + k - 2 * p + o),
    ("n times stride", "times the stride", lambda n, k, s, p, o: n * s),
    ("an ordinary one", "ordinary", lambda n, k, s, p, o: slide(n, k, s, p) + o),
    ("no kernel", "kernel", lambda n, k, s, p, o: (n - 1) * s + o - 2 * p),
)  # fmt: skip


def try_paddings(n, kernel, stride, padding):
    there = slide(n, kernel, stride, padding)
    for extra in range(stride):
        if paint(there, kernel, stride, padding, extra) == n:
            return extra


RIGHT["05.output_padding"] = {
    "formula": lambda n, k, s, p: (n + 2 * p - k) % s,
    "loop": try_paddings,
    "torch.nn": lambda n, k, s, p: n - transposed_by_torch(conv_by_torch(n, k, s, p), k, s, p, 0),
}
WRONG["05.output_padding"] = (
    ("never", "always 0", lambda n, k, s, p: 0),
    ("always", "always 1", lambda n, k, s, p: 1),
    ("odd pictures", "divided by the stride", lambda n, k, s, p: n - s * (n // s)),
    ("sign", "sign", lambda n, k, s, p: paint(slide(n, k, s, p), k, s, p, 0) - n),
    ("size times stride", "stride times", lambda n, k, s, p: n - slide(n, k, s, p) * s),
    ("to the next step", "next step", lambda n, k, s, p: (k - n - 2 * p) % s),
    ("largest", "largest", lambda n, k, s, p: s - 1),
    ("no padding", "padding", lambda n, k, s, p: try_paddings(n, k, s, 0)),
    ("the width that returns", "comes back",
     lambda n, k, s, p: paint(slide(n, k, s, p), k, s, p, 0)),
    ("wrong for most", "result", lambda n, k, s, p: try_paddings(n, k, s, p) if n > 20 else 7),
)  # fmt: skip


def gauss_loop(mean, x, sigma):
    rows = []
    for m, image in zip(mean, x, strict=True):
        squares = ((image - m) ** 2).sum() / (2 * sigma**2)
        rows.append(squares + image.numel() * torch.log(sigma * math.sqrt(2 * math.pi)))
    return torch.stack(rows)


def gauss(squares, constant):
    return lambda m, x, s: (squares((x - m) ** 2, s) + constant(s)).sum(dim=(1, 2, 3))


LOG_2PI = math.log(2 * math.pi)


RIGHT["05.gaussian_nll"] = {
    "vectorised": lambda m, x, s: 0.5
    * ((x - m) ** 2 / s**2 + 2 * torch.log(s) + LOG_2PI).flatten(1).sum(1),
    "loop": gauss_loop,
    "torch.distributions": lambda m, x, s: -Normal(m, s).log_prob(x).flatten(1).sum(1),
    "functional": lambda m, x, s: F.gaussian_nll_loss(
        m, x, (s**2).expand_as(x), full=True, reduction="none").flatten(1).sum(1),
}  # fmt: skip
WRONG["05.gaussian_nll"] = (
    ("no log sigma", "log sigma", gauss(lambda d, s: d / (2 * s**2), lambda s: LOG_2PI / 2)),
    ("no 2 pi", "2 pi", lambda m, x, s: F.gaussian_nll_loss(
        m, x, (s**2).expand_as(x), reduction="none").flatten(1).sum(1)),
    ("neither", "both log sigma", gauss(lambda d, s: d / (2 * s**2), lambda s: 0)),
    ("no half", "half", gauss(lambda d, s: d / s**2, lambda s: s.log() + LOG_2PI / 2)),
    ("sigma for the variance", "standard deviation",
     lambda m, x, s: -Normal(m, s.sqrt()).log_prob(x).sum(dim=(1, 2, 3))),
    ("divided by sigma", "divided by sigma",
     gauss(lambda d, s: d / (2 * s), lambda s: s.log() + LOG_2PI / 2)),
    ("sum of squares", "sum of squares", gauss(lambda d, s: d, lambda s: 0)),
    ("squares not scaled", "units of sigma",
     gauss(lambda d, s: d / 2, lambda s: s.log() + LOG_2PI / 2)),
    ("half a log sigma", "logarithm",
     gauss(lambda d, s: d / (2 * s**2), lambda s: s.sqrt().log() + LOG_2PI / 2)),
    ("constants once", "every pixel", lambda m, x, s: ((x - m) / s).square().sum((1, 2, 3)) / 2
     + s.log() + LOG_2PI / 2),
    ("mean over pixels", "mean over the pixels",
     lambda m, x, s: -Normal(m, s).log_prob(x).mean(dim=(1, 2, 3))),
    ("sign", "sign", lambda m, x, s: Normal(m, s).log_prob(x).sum(dim=(1, 2, 3))),
    ("batch mean", "averaged", lambda m, x, s: gauss_loop(m, x, s).mean()),
    ("math.log", "gradient for sigma", lambda m, x, s: ((x - m) / s).square().sum((1, 2, 3)) / 2
     + x[0].numel() * math.log(s * math.sqrt(2 * math.pi))),
    ("no root", "half of log 2 pi",
     gauss(lambda d, s: d / (2 * s**2), lambda s: s.log() + LOG_2PI)),
)  # fmt: skip


def iwae_loop(log_weights):
    rows = []
    for row in log_weights:
        top = row.max()
        rows.append(top + torch.log(torch.exp(row - top).mean()))
    return torch.stack(rows)


def iwae_reduce(log_weights):
    total = log_weights[:, 0]
    for j in range(1, log_weights.shape[1]):
        total = torch.logaddexp(total, log_weights[:, j])
    return total - math.log(log_weights.shape[1])


def iwae_mixture(log_weights):
    even = Categorical(logits=torch.zeros_like(log_weights))
    return (log_weights + even.logits).logsumexp(-1)


RIGHT["05.iwae"] = {
    "vectorised": lambda w: torch.logsumexp(w - math.log(w.shape[1]), dim=1),
    "loop": iwae_loop,
    "reduce": iwae_reduce,
    "torch.distributions": iwae_mixture,
}
WRONG["05.iwae"] = (
    ("maximum not added", "added again", lambda w: iwae_loop(w) - w.max(1).values),
    ("mean of logs", "mean of the logarithms", lambda w: w.mean(dim=-1)),
    ("no log k", "log k", lambda w: torch.logsumexp(w, dim=-1)),
    ("plus log k", "log k", lambda w: w.logsumexp(-1) + math.log(w.size(1))),
    ("softmax over the loss", "loss", lambda w: (F.softmin(w, dim=1) * w).sum(1)),
    ("softmax over the weights", "softmax", lambda w: (F.softmax(w, dim=1) * w).sum(1)),
    ("no maximum subtracted", "maximum", lambda w: w.exp().mean(1).log()),
    ("best only", "best draw", lambda w: w.max(dim=1).values),
    ("wrong axis", "axis", lambda w: iwae_loop(w.T)),
    ("no logarithm", "logarithm is missing", lambda w: torch.exp(iwae_loop(w))),
    ("sign", "sign", lambda w: -iwae_loop(w)),
    ("worst draws", "worst", lambda w: -iwae_loop(-w)),
    ("divided outside", "outside", lambda w: w.logsumexp(1) / w.size(1)),
    ("images mixed", "mixed", lambda w: iwae_loop(w.reshape(1, -1))[0]),
    ("batch mean", "averaged", lambda w: iwae_loop(w).mean()),
    ("detached weights", "gradient", lambda w: iwae_loop(w.detach())),
)  # fmt: skip


# --- 06 ---


def vector_loop(codes, has):
    yes, no = [], []
    for code, flag in zip(codes, has, strict=True):
        (yes if flag else no).append(code)
    return sum(yes) / len(yes) - sum(no) / len(no)


RIGHT["06.attribute_vector"] = {
    "vectorised": lambda c, h: c[h].mean(0) - c[h.logical_not()].mean(0),
    "loop": vector_loop,
    "matrix product": lambda c, h: (h.to(c) / h.sum() - (~h).to(c) / (~h).sum()) @ c,
    "numpy": lambda c, h: torch.from_numpy(
        c.numpy()[h.numpy()].mean(0) - c.numpy()[~h.numpy()].mean(0)),
}  # fmt: skip
WRONG["06.attribute_vector"] = (
    ("sign", "sign", lambda c, h: -vector_loop(c, h)),
    ("mean of those with it", "in common", lambda c, h: c[h].mean(dim=0)),
    ("minus the mean of all", "all faces", lambda c, h: c[h].mean(0) - c.mean(0)),
    ("sums", "sums", lambda c, h: (2 * h.to(c) - 1) @ c),
    ("divided by all", "number of all", lambda c, h: (2 * h.to(c) - 1) @ c / len(c)),
    ("unit length", "length", lambda c, h: vector_loop(c, h) / vector_loop(c, h).norm()),
    ("one number", "single number", lambda c, h: vector_loop(c, h).mean()),
    ("added", "added", lambda c, h: c[h].mean(0) + c[~h].mean(0)),
    ("half", "half", lambda c, h: 0.5 * vector_loop(c, h)),
    ("keepdim", "shape", lambda c, h: vector_loop(c, h)[None]),
)  # fmt: skip


def bytes_loop(x):
    result = torch.empty(x.shape, dtype=torch.uint8)
    for i, value in enumerate(x.flatten().tolist()):
        result.view(-1)[i] = round(255 * min(1, max(0, value)))
    return result


def bytes_numpy(x):
    return torch.from_numpy(np.rint(np.clip(x.numpy(), 0, 1) * 255).astype(np.uint8))


RIGHT["06.to_bytes"] = {
    "vectorised": lambda x: x.mul(255).round().clamp(0, 255).byte(),
    "loop": bytes_loop,
    "numpy": bytes_numpy,
    "torchvision's way": lambda x: (x * 255).add(0.5).clamp(0, 255).to(torch.uint8),
}
WRONG["06.to_bytes"] = (
    ("cut off", "cut off", lambda x: x.clamp(0, 1).mul(255).byte()),
    ("not clamped", "wrap", lambda x: torch.round(255 * x).int().remainder(256).byte()),
    ("not clamped, cut off", "wrap", lambda x: (255 * x).int().byte()),
    ("times 256", "256", lambda x: (256 * x).clamp(0, 255).byte()),
    ("not scaled", "factor is missing", lambda x: x.clamp(0, 1).round().byte()),
    ("rounded first", "black and white", lambda x: x.clamp(0, 1).round().mul(255).byte()),
    ("clamped late", "after the multiplication", lambda x: x.mul(255).clamp(0, 1).byte()),
    ("sigmoid", "sigmoid", lambda x: x.sigmoid().mul(255).round().byte()),
    ("floats", "uint8", lambda x: x.clamp(0, 1).mul(255).round()),
    ("int64", "uint8", lambda x: x.clamp(0, 1).mul(255).round().long()),
    ("in place", "in place", lambda x: x.clamp_(0, 1).mul(255).round().byte()),
)  # fmt: skip


def codes_loop(mean, root, eps, temperature):
    return torch.stack([mean + temperature * (root @ noise) for noise in eps])


RIGHT["06.codes_at"] = {
    "vectorised": lambda m, r, e, t: torch.addmm(m, e, r.T, alpha=t),
    "loop": codes_loop,
    "einsum": lambda m, r, e, t: m + torch.einsum("ij,nj->ni", t * r, e),
    "functional": lambda m, r, e, t: F.linear(t * e, r, m),
}
WRONG["06.codes_at"] = (
    ("wrong side", "wrong side", lambda m, r, e, t: m + t * torch.matmul(e, r)),
    ("no temperature", "temperature plays no part", lambda m, r, e, t: codes_loop(m, r, e, 1)),
    ("no mean", "mean is missing", lambda m, r, e, t: codes_loop(0 * m, r, e, t)),
    ("mean scaled", "mean, too", lambda m, r, e, t: codes_loop(m, r, e, 1) * t),
    ("squared", "squared", lambda m, r, e, t: codes_loop(m, r, e, t * t)),
    ("root of it", "root of the temperature",
     lambda m, r, e, t: codes_loop(m, r, e, math.sqrt(t))),
    ("covariance", "covariance", lambda m, r, e, t: codes_loop(m, r @ r.T, e, t)),
    ("no covariance", "covariance plays no part", lambda m, r, e, t: m + e * t),
    ("diagonal", "diagonal", lambda m, r, e, t: codes_loop(m, r.diag().diag(), e, t)),
    ("new noise", "random", lambda m, r, e, t: codes_loop(m, r, torch.randn_like(e), t)),
)  # fmt: skip


# --- 07 ---


def beta_by_case(pixels, latents, batch, nll, kl):
    beta = 1.0
    if nll == "mean":
        beta *= pixels
    elif nll == "sum":
        beta /= batch
    if kl == "mean":
        beta /= latents
    elif kl == "sum":
        beta *= batch
    return beta


def beta_by_measuring(pixels, latents, batch, nll, kl):
    """Reduce ones in both ways: each nat then counts as much as the result."""

    def weight(things, how):
        values = torch.ones(batch, things, dtype=torch.float64)
        total = {"image": values.sum(1).mean(), "sum": values.sum(), "mean": values.mean()}[how]
        return (total / values.sum(1).mean()).item()

    return weight(latents, kl) / weight(pixels, nll)


def beta_table(pixels, latents, batch, nll, kl):
    rows = ["image", "sum", "mean"]
    table = np.outer([1, 1 / batch, pixels], [1, batch, 1 / latents])
    return float(table[rows.index(nll), rows.index(kl)])


RIGHT["07.effective_beta"] = {
    "cases": beta_by_case,
    "measured": beta_by_measuring,
    "numpy": beta_table,
}
WRONG["07.effective_beta"] = (
    ("upside down", "upside down", lambda *a: 1 / beta_by_case(*a)),
    ("no batch", "batch plays no part",
     lambda p, l, b, nll, kl: beta_by_measuring(p, l, 1, nll, kl)),
    ("no latents", "latents play no part",
     lambda p, l, b, nll, kl: beta_by_measuring(p, 1, b, nll, kl)),
    ("no pixels", "pixels play no part",
     lambda p, l, b, nll, kl: beta_by_measuring(1, l, b, nll, kl)),
    ("pixels for latents", "number of pixels",
     lambda p, l, b, nll, kl: beta_by_measuring(p, p, b, nll, kl)),
    ("swapped sizes", "swapped", lambda p, l, b, nll, kl: beta_by_measuring(l, p, b, nll, kl)),
    ("swapped reductions", "arguments",
     lambda p, l, b, nll, kl: beta_by_measuring(p, l, b, kl, nll)),
    ("always 784", "nine cases", lambda p, l, b, nll, kl: float(p)),
    ("always 1", "always 1", lambda *a: 1.0),
)  # fmt: skip


def price_loop(rate, distortion):
    prices = []
    for i in range(1, len(rate)):
        saved = distortion[i] - distortion[i - 1]
        prices.append(saved / (rate[i - 1] - rate[i]))
    return torch.stack(prices)


RIGHT["07.price"] = {
    "vectorised": lambda r, d: (d[1:] - d[:-1]) / (r[:-1] - r[1:]),
    "loop": price_loop,
    "numpy": lambda r, d: torch.from_numpy(-np.diff(d.numpy()) / np.diff(r.numpy())),
}
WRONG["07.price"] = (
    ("sign", "sign", lambda r, d: (d[1:] - d[:-1]) / (r[1:] - r[:-1])),
    ("upside down", "upside down", lambda r, d: 1 / price_loop(r, d)),
    ("both", "upside down, and", lambda r, d: -1 / price_loop(r, d)),
    ("ratio of totals", "totals", lambda r, d: d / r),
    ("not divided", "each nat of rate", lambda r, d: torch.diff(d)),
    ("from the first", "first model", lambda r, d: (d[1:] - d[0]) / (r[0] - r[1:])),
    ("one for all", "whole way", lambda r, d: (d[-1] - d[0]) / (r[0] - r[-1])),
    ("reversed", "reversed", lambda r, d: price_loop(r, d).flip(0)),
    ("with R inside", "alone", lambda r, d: price_loop(r, d + r)),
    ("a list", "list", lambda r, d: price_loop(r, d).tolist()),
)  # fmt: skip


def mig_loop(information, entropy):
    gaps = []
    for column, h in zip(information.T.tolist(), entropy.tolist(), strict=True):
        second, best = sorted(column)[-2:]
        gaps.append((best - second) / h)
    return torch.tensor(gaps)


def mig_numpy(information, entropy):
    ordered = np.sort(information.numpy(), axis=0)
    return torch.from_numpy((ordered[-1] - ordered[-2]) / entropy.numpy())


RIGHT["07.mig"] = {
    "vectorised": lambda i, h: -i.sort(dim=0, descending=True).values[:2].diff(dim=0)[0] / h,
    "loop": mig_loop,
    "numpy": mig_numpy,
}
WRONG["07.mig"] = (
    ("not normalised", "normalised", lambda i, h: mig_loop(i, 1 + 0 * h)),
    ("by the best", "best information", lambda i, h: mig_loop(i, i.amax(0))),
    ("wrong axis", "axis", lambda i, h: -i.topk(2, dim=1).values.diff(dim=1)[:, 0] / h),
    ("no gap", "no gap", lambda i, h: i.max(dim=0).values / h),
    ("mean over factors", "averaged over the factors", lambda i, h: mig_loop(i, h).mean()),
    ("gap to the worst", "worst", lambda i, h: (i.amax(0) - i.amin(0)) / h),
    ("gap to the mean", "mean", lambda i, h: (i.amax(0) - i.mean(0)) / h),
    ("first two latents", "first two", lambda i, h: -i[:2].diff(dim=0)[0] / h),
    ("sign", "sign", lambda i, h: -mig_loop(i, h)),
    ("sum of entropies", "sum of all entropies", lambda i, h: mig_loop(i, 0 * h + h.sum())),
    ("in place", "in place", lambda i, h: mig_loop(i, h).to(h.mul_(2))),
)  # fmt: skip


# --- 08 ---


def label_loop(z, y, classes):
    rows = []
    for code, label in zip(z, y, strict=True):
        one_hot = torch.zeros(classes, dtype=z.dtype)
        one_hot[label] = 1
        rows.append(torch.cat([code, one_hot]))
    return torch.stack(rows)


def label_scatter(z, y, classes):
    room = F.pad(z, (0, classes))
    return room.scatter(1, y[:, None] + z.shape[1], 1.0)


RIGHT["08.with_label"] = {
    "vectorised": lambda z, y, c: torch.hstack([z, torch.eye(c).to(z)[y]]),
    "loop": label_loop,
    "scatter": label_scatter,
    "comparison": lambda z, y, c: torch.cat([z, (y[:, None] == torch.arange(c)).to(z)], 1),
}
WRONG["08.with_label"] = (
    ("label as a number", "one number", lambda z, y, c: torch.column_stack([z, y.to(z)])),
    ("label repeated", "repeated", lambda z, y, c: torch.hstack(
        [z, y.to(z)[:, None].repeat(1, c)])),
    ("label first", "order", lambda z, y, c: label_loop(z, y, c).roll(c, dims=1)),
    ("shifted", "shifted", lambda z, y, c: label_loop(z, (y + 1) % c, c)),
    ("classes of the batch", "number of classes", lambda z, y, c: label_loop(
        z, y, int(y.max()) + 1)),
    ("always class 0", "class 0", lambda z, y, c: label_loop(z, torch.zeros_like(y), c)),
    ("no code", "code is missing", lambda z, y, c: torch.eye(c).to(z)[y]),
    ("no label", "label is missing", lambda z, y, c: z.clone()),
    ("along the batch", "along the batch", lambda z, y, c: torch.vstack(
        [z, F.one_hot(y, c).to(z)])),
    ("inverted", "swapped", lambda z, y, c: torch.hstack([z, 1 - torch.eye(c).to(z)[y]])),
    ("counted from the end", "from the end", lambda z, y, c: label_loop(z, c - 1 - y, c)),
)  # fmt: skip


def share_loop(logits, asked):
    hits = 0
    for row, label in zip(logits, asked, strict=True):
        hits += int(row.argmax() == label)
    return hits / len(asked)


def chances(logits, asked):
    return logits.softmax(1)[torch.arange(len(asked)), asked]


RIGHT["08.conditional_accuracy"] = {
    "vectorised": lambda l, a: l.max(1).indices.eq(a).float().mean(),
    "loop": share_loop,
    "numpy": lambda l, a: float(np.mean(l.numpy().argmax(1) == a.numpy())),
    "torch.distributions": lambda l, a: (Categorical(logits=l).mode == a).double().mean().item(),
}
WRONG["08.conditional_accuracy"] = (
    ("errors", "errors", lambda l, a: 1 - share_loop(l, a)),
    ("count", "counts", lambda l, a: round(share_loop(l, a) * len(a))),
    ("confidence in the class", "mean probability", lambda l, a: chances(l, a).mean()),
    ("confidence", "how sure", lambda l, a: F.softmax(l, 1).max(1).values.mean()),
    ("class 0", "class 0", lambda l, a: share_loop(l, 0 * a)),
    ("wrong axis", "axis", lambda l, a: (l.max(0).indices == a).float().mean()),
    ("for each sample", "each sample", lambda l, a: (l.max(1).indices == a).float()),
    ("percent", "percent", lambda l, a: 100 * share_loop(l, a)),
    ("above one half", "one half", lambda l, a: (chances(l, a) > 0.5).float().mean()),
    ("broadcasting", "broadcasting", lambda l, a: (l.argmax(1, keepdim=True) == a).float().mean()),
    ("all right", "all are right", lambda l, a: float(share_loop(l, a) == 1)),
)  # fmt: skip


def bayes_loop(log_p, log_prior):
    rows = []
    for row in log_p:
        joint = [p + q for p, q in zip(row, log_prior, strict=True)]
        top = max(joint)
        weights = torch.stack([(value - top).exp() for value in joint])
        rows.append(weights / weights.sum())
    return torch.stack(rows)


def bayes_logs(log_p, log_prior):
    joint = log_p + log_prior
    return (joint - joint.logsumexp(1, keepdim=True)).exp()


RIGHT["08.class_posterior"] = {
    "vectorised": bayes_logs,
    "loop": bayes_loop,
    "torch.distributions": lambda l, p: Categorical(logits=l + p).probs,
}
WRONG["08.class_posterior"] = (
    ("no prior", "prior plays no part", lambda l, p: bayes_logs(l, 0 * p)),
    ("wrong axis", "axis", lambda l, p: torch.softmax(l + p, dim=0)),
    ("probability added", "added to a logarithm", lambda l, p: bayes_logs(l, p.exp())),
    ("divided by the prior", "divided", lambda l, p: bayes_logs(l, -p)),
    ("loss for likelihood", "sign", lambda l, p: bayes_logs(-l, p)),
    ("logarithms", "logarithms", lambda l, p: bayes_logs(l, p).log()),
    ("not normalised", "not normalised", lambda l, p: torch.exp(l + p)),
    ("prior after", "not normalised", lambda l, p: bayes_logs(l, 0 * p) * p.exp()),
    ("underflow", "maximum", lambda l, p: (l + p).exp() / (l + p).exp().sum(1, keepdim=True)),
    ("logarithms normalised", "exp is missing",
     lambda l, p: (l + p) / (l + p).sum(dim=1, keepdim=True)),
    ("transposed", "swapped", lambda l, p: bayes_logs(l, p).T),
)  # fmt: skip


# --- 09 ---


def warm_up_loop(epoch, epochs):
    beta = 0.0
    for _ in range(epoch):
        beta = min(beta + 1 / epochs, 1)
    return beta


RIGHT["09.warm_up"] = {
    "formula": lambda e, n: e / n if e < n else 1.0,
    "loop": warm_up_loop,
    "numpy": lambda e, n: float(np.interp(e, [0, n], [0, 1])),
    "torch": lambda e, n: torch.tensor(e / n).clamp(max=1),
}
WRONG["09.warm_up"] = (
    ("no end", "above 1", lambda e, n: e * (1 / n)),
    ("starts above 0", "starts above 0", lambda e, n: min((1 + e) / n, 1.0)),
    ("integer division", "whole-number", lambda e, n: int(e >= n)),
    ("too late", "too late", lambda e, n: min(e / (1 + n), 1.0)),
    ("too early", "too early", lambda e, n: float(np.linspace(0, 1, n)[min(e, n - 1)])
     if n > 1 else min(e, 1)),
    ("reversed", "reversed", lambda e, n: max(0.0, 1 - e / n)),
    ("max for min", "max", lambda e, n: max(1.0, e / n)),
    ("falls back", "falls back", lambda e, n: (e < n) * e / n),
    ("again and again", "again", lambda e, n: (e / n) % 1),
    ("never reaches 1", "never reaches 1", lambda e, n: min(e / n, 0.99)),
    ("quadratic", "curve", lambda e, n: min(1, e / n) ** 2),
    ("not divided", "divided", lambda e, n: e if e < n else n),
)  # fmt: skip


def cyclical_loop(progress, cycles, share):
    start = 0.0
    for i in range(cycles):
        if progress >= i / cycles:
            start = i / cycles
    return min(1.0, (progress - start) / (share / cycles))


def in_cycle(progress, cycles):
    return math.fmod(progress, 1 / cycles) * cycles


RIGHT["09.cyclical"] = {
    "formula": lambda t, c, s: min((t * c - math.floor(t * c)) / s, 1),
    "loop": cyclical_loop,
    "numpy": lambda t, c, s: float(np.clip(np.mod(t * c, 1) / s, 0, 1)),
}
WRONG["09.cyclical"] = (
    ("no plateau", "above 1", lambda t, c, s: in_cycle(t, c) / s),
    ("share ignored", "share plays no part", lambda t, c, s: in_cycle(t, c)),
    ("one cycle", "cycles plays no part", lambda t, c, s: cyclical_loop(t, 1, s)),
    ("never falls back", "never falls back", lambda t, c, s: min(1, c * t / s)),
    ("times share", "multiplied by share", lambda t, c, s: in_cycle(t, c) * s),
    ("reversed", "reversed", lambda t, c, s: 1 - cyclical_loop(t, c, s)),
    ("plateau first", "wrong end", lambda t, c, s: max(0, 1 - (1 - in_cycle(t, c)) / s)),
    ("a step", "jumps", lambda t, c, s: 1.0 if in_cycle(t, c) >= s else 0.0),
    ("falls to 0", "falls back to 0", lambda t, c, s: in_cycle(t, c) / s
     * (in_cycle(t, c) < s)),
    ("not stretched", "stretched", lambda t, c, s: min(1, math.fmod(t, 1 / c) / s)),
)  # fmt: skip


def free_bits_loop(kl, floor):
    total = 0
    for column in kl.unbind(dim=1):
        mean = column.mean()
        total = total + (mean if mean > floor else mean * 0 + floor)
    return total


def free_bits_where(kl, floor):
    means = kl.mean(0)
    return torch.where(means > floor, means, torch.full_like(means, floor)).sum()


RIGHT["09.free_bits"] = {
    "vectorised": lambda k, f: torch.maximum(k.mean(0), torch.tensor(f).to(k)).sum(),
    "loop": free_bits_loop,
    "where": free_bits_where,
    "relu": lambda k, f: (f + torch.relu(k.mean(0) - f)).sum(),
    "Python's max": lambda k, f: sum(max(each, torch.tensor(f).to(k)) for each in k.mean(0)),
}
WRONG["09.free_bits"] = (
    ("on the sum", "sum of all", lambda k, f: torch.clamp(k.sum(1).mean(), min=f)),
    ("on the sum, floor times latents", "sum of all",
     lambda k, f: torch.clamp(k.mean(0).sum(), min=f * k.shape[1])),
    ("per image", "single image", lambda k, f: torch.clamp(k, min=f).mean(0).sum()),
    ("min for max", "ceiling", lambda k, f: torch.minimum(k.mean(0), torch.tensor(f).to(k)).sum()),
    ("subtracted", "subtracted", lambda k, f: F.relu(k.mean(0) - f).sum()),
    ("added", "added", lambda k, f: k.mean(0).sum() + f * k.shape[1]),
    ("mean over latents", "mean over the latents",
     lambda k, f: free_bits_loop(k, f) / k.shape[1]),
    ("sum over images", "sum over the images", lambda k, f: k.sum(0).clamp_min(f).sum()),
    ("axis", "axis", lambda k, f: free_bits_loop(k.T, f)),
    ("no sum", "sum over the latents is missing", lambda k, f: k.mean(0).clamp_min(f)),
    ("no floor", "floor plays no part", lambda k, f: k.mean(0).sum()),
    ("0 below the floor", "counts 0", lambda k, f: (k.mean(0) * (k.mean(0) > f)).sum()),
    ("gradient below the floor", "gradient", lambda k, f: k.mean(0).sum()
     + (k.mean(0).clamp_min(f) - k.mean(0)).sum().detach()),
    ("detached", "gradient", lambda k, f: torch.tensor(free_bits_loop(k, f).item())),
)  # fmt: skip


# --- 10 ---


def covariance_loop(weight, logvar):
    rows = []
    for i, row in enumerate(weight):
        noise = [logvar[i].exp() if i == j else 0 * logvar[i] for j in range(len(weight))]
        rows.append(torch.stack([row @ other + n for other, n in zip(weight, noise, strict=True)]))
    return torch.stack(rows)


RIGHT["10.prior_covariance"] = {
    "einsum": lambda w, l: torch.einsum("ik,jk->ij", w, w) + l.exp().diag(),
    "loop": covariance_loop,
    "eye": lambda w, l: torch.eye(len(l)).to(w) * l.exp() + torch.mm(w, w.t()),
    "outer products": lambda w, l: (
        sum(torch.outer(column, column) for column in w.T) + torch.diag_embed(torch.exp(l))
    ),
}
WRONG["10.prior_covariance"] = (
    ("no noise", "missing", lambda w, l: torch.einsum("ik,jk->ij", w, w)),
    ("z_2 fixed", "plays no part", lambda w, l: l.exp().diag() + 0 * w @ w.T),
    ("logvar as variance", "exponential", lambda w, l: covariance_loop(w, 0 * l - 99) + l.diag()),
    ("sigma for the variance", "sigma", lambda w, l: covariance_loop(w, l / 2)),
    ("logvar as log sigma", "squared", lambda w, l: covariance_loop(w, l * 2)),
    ("broadcast", "diagonal alone", lambda w, l: torch.mm(w, w.t()).add(torch.exp(l))),
    ("broadcast over columns", "every column", lambda w, l: (torch.mm(w, w.t()).T + l.exp()).T),
    ("transposed", "wrong side", lambda w, l: torch.mm(w.t(), w) + l.exp().diag()),
    ("noise of z_2", "between the weights", lambda w, l: (w * l.exp()) @ w.T
     if len(l) == w.shape[1] else w @ l.exp().diag() @ w.T),
    ("diagonal only", "off the diagonal", lambda w, l: covariance_loop(w, l).diag().diag()),
    ("a vector", "as a vector", lambda w, l: covariance_loop(w, l).diagonal()),
    ("mean over z_2", "divided by the number",
     lambda w, l: covariance_loop(w / w.shape[1] ** 0.5, l)),
    ("precision", "precisions", lambda w, l: covariance_loop(w, -l)),
    ("detached", "gradient", lambda w, l: covariance_loop(w.detach(), l)),
)  # fmt: skip


def log_weight_parts(nll, p1, q1, p2, q2):
    """The three parts of a log weight, `(batch,)` each."""
    return -nll, p1.sum(-1) - q1.sum(-1), p2.sum(-1) - q2.sum(-1)


def log_weight_loop(nll, p1, q1, p2, q2):
    weights = []
    for i in range(len(nll)):
        ratio = sum(p1[i]) + sum(p2[i]) - sum(q1[i]) - sum(q2[i])
        weights.append(ratio - nll[i])
    return torch.stack(weights)


def signs(*tables):
    """+1 for each column of the first and third table, -1 for the second and fourth."""
    return torch.cat([t * 0 + sign for t, sign in zip(tables, (1, -1, 1, -1), strict=True)], dim=1)


RIGHT["10.log_weight"] = {
    "parts": lambda *terms: sum(log_weight_parts(*terms)),
    "loop": log_weight_loop,
    "layers side by side": lambda n, a, b, c, d: (
        (torch.cat([a, c], dim=1) - torch.cat([b, d], dim=1)).sum(dim=1) - n
    ),
    "einsum": lambda n, *t: torch.einsum("ij,ij->i", torch.cat(t, 1), signs(*t)) - n,
}
WRONG["10.log_weight"] = (
    ("sign of nll", "sign of nll", lambda n, *t: log_weight_loop(-n, *t)),
    ("the loss", "turned round", lambda *t: -log_weight_loop(*t)),
    ("p and q swapped", "swapped: the", lambda n, a, b, c, d: log_weight_loop(n, b, a, d, c)),
    ("swapped in layer 2", "in layer 2", lambda n, a, b, c, d: log_weight_loop(n, a, b, d, c)),
    ("swapped in layer 1", "in layer 1", lambda n, a, b, c, d: log_weight_loop(n, b, a, c, d)),
    ("no layer 2", "layer 2 is missing", lambda *t: sum(log_weight_parts(*t)[:2])),
    ("no layer 1", "layer 1 is missing", lambda *t: sum(log_weight_parts(*t)[::2])),
    ("no image", "nll is missing", lambda *t: sum(log_weight_parts(*t)[1:])),
    ("no q", "posteriors are missing",
     lambda n, a, b, c, d: log_weight_loop(n, a, 0 * b, c, 0 * d)),
    ("no p", "priors are missing", lambda n, a, b, c, d: log_weight_loop(n, 0 * a, b, 0 * c, d)),
    ("no prior of layer 2", "prior of layer 2",
     lambda n, a, b, c, d: log_weight_loop(n, a, b, 0 * c, d)),
    ("q added", "subtracted", lambda n, a, b, c, d: log_weight_loop(n, a, -b, c, -d)),
    ("mean over latents", "mean over the latents",
     lambda n, a, b, c, d: torch.mean(a - b, 1) + torch.mean(c - d, 1) - n),
    ("no logarithm", "weight itself", lambda *t: torch.exp(log_weight_loop(*t))),
    ("batch mean", "averaged", lambda *t: log_weight_loop(*t).mean()),
    ("per latent", "shape", lambda n, a, b, c, d: a - b - n[:, None]),
    ("detached", "gradient", lambda n, a, b, c, d: log_weight_loop(n, a.detach(), b, c, d)),
)  # fmt: skip


def product_right(a, k, b, l):
    """N(a, exp(k)) times N(b, exp(l)): mu by the share of the first, variance by a product."""
    share = torch.sigmoid(l - k)
    return share * a + (1 - share) * b, k + torch.log(share)


def product_mu(*arguments):
    return product_right(*arguments)[0]


def product_logvar(k, l):
    return product_right(k, k, k, l)[1]


def product_loop(a, k, b, l):
    mu, logvar = [], []
    for i in range(len(a)):
        one, other = 1 / k[i].exp(), 1 / l[i].exp()
        mu.append((a[i] * one + b[i] * other) / (one + other))
        logvar.append(-(one + other).log())
    return torch.stack(mu), torch.stack(logvar)


RIGHT["10.precision_weighted"] = {
    "share": product_right,
    "loop": product_loop,
    "variances": lambda a, k, b, l: (
        (a * l.exp() + b * k.exp()) / (k.exp() + l.exp()), k + l - torch.logaddexp(k, l)
    ),
    "a step from above": lambda a, k, b, l: (
        b + (a - b) * l.exp() / (k.exp() + l.exp()), -torch.logaddexp(-k, -l)
    ),
}  # fmt: skip
WRONG["10.precision_weighted"] = (
    ("variances as weights", "less certain",
     lambda a, k, b, l: (product_mu(a, -k, b, -l), product_logvar(k, l))),
    ("variances added", "variances are added",
     lambda a, k, b, l: (product_mu(a, k, b, l), torch.logaddexp(k, l))),
    ("log precision", "logarithm of the precision",
     lambda a, k, b, l: (product_mu(a, k, b, l), torch.logaddexp(-k, -l))),
    ("variance for its logarithm", "expected its logarithm",
     lambda a, k, b, l: (product_mu(a, k, b, l), torch.exp(-torch.logaddexp(-k, -l)))),
    ("log sigma", "log sigma",
     lambda a, k, b, l: (product_mu(a, k, b, l), product_logvar(k, l) / 2)),
    ("mean logvar", "more certain than either",
     lambda a, k, b, l: (product_mu(a, k, b, l), (k + l) / 2)),
    ("mean precision", "averaged",
     lambda a, k, b, l: (product_mu(a, k, b, l), -((torch.exp(-k) + torch.exp(-l)) / 2).log())),
    ("logvars added", "multiplies", lambda a, k, b, l: (product_mu(a, k, b, l), l + k)),
    ("plain mean", "plain mean",
     lambda a, k, b, l: (torch.lerp(a, b, 0.5), product_logvar(k, l))),
    ("one over sigma", "one over sigma",
     lambda a, k, b, l: (product_mu(a, k / 2, b, l / 2), product_logvar(k, l))),
    ("weights crossed", "precision of the other",
     lambda a, k, b, l: (product_mu(a, l, b, k), product_logvar(k, l))),
    ("not divided", "not divided",
     lambda a, k, b, l: (a / k.exp() + b / l.exp(), product_logvar(k, l))),
    ("means added", "means are added", lambda a, k, b, l: (b + a, product_logvar(k, l))),
    ("swapped", "swapped", lambda *t: product_right(*t)[::-1]),
    ("mu only", "expected", product_mu),
    ("detached", "gradient",
     lambda a, k, b, l: (product_mu(a, k.detach(), b, l), product_logvar(k, l))),
)  # fmt: skip


# --- 11 ---


def hours_by_loops(epochs, batch_sizes, step_seconds, others, images):
    seconds = 0.0
    for number in epochs:
        for size, step in zip(batch_sizes, step_seconds, strict=True):
            seconds += others * number * -(-images // size) * step
    return seconds / 3600


def hours_numpy(epochs, batch_sizes, step_seconds, others, images):
    steps = np.ceil(images / np.array(batch_sizes))
    return float(np.sum(epochs) * others * (steps @ np.array(step_seconds)) / 3600)


RIGHT["11.grid_hours"] = {
    "loops": hours_by_loops,
    "numpy": hours_numpy,
    "torch": lambda e, b, s, o, n: torch.outer(
        torch.tensor(e, dtype=torch.float64),
        torch.tensor([math.ceil(n / x) * y for x, y in zip(b, s, strict=True)]).double(),
    ).sum() * o / 3600,
}  # fmt: skip
WRONG["11.grid_hours"] = (
    ("rounded down", "rounded down",
     lambda e, b, s, o, n: sum(e) * o / 3600 * sum(n // x * y for x, y in zip(b, s, strict=True))),
    ("not rounded", "not rounded",
     lambda e, b, s, o, n: sum(e) * o / 3600 * n * sum(y / x for x, y in zip(b, s, strict=True))),
    ("seconds", "seconds", lambda *a: 60 * 60 * hours_by_loops(*a)),
    ("minutes", "minutes", lambda *a: 60 * hours_numpy(*a)),
    ("days", "days", lambda *a: hours_numpy(*a) / 24),
    ("others forgotten", "left out", lambda e, b, s, o, n: hours_by_loops(e, b, s, 1, n)),
    ("runs of one epoch", "one epoch", lambda e, b, s, o, n: hours_by_loops([1] * len(e), b, s, o,
                                                                           n)),
    ("longest only", "longest", lambda e, b, s, o, n: hours_by_loops(sorted(e)[-1:], b, s, o, n)),
    ("mean of epochs", "mean number",
     lambda e, b, s, o, n: hours_by_loops([np.mean(e)], b, s, o, n)),
    ("a step an image", "for each image",
     lambda e, b, s, o, n: hours_by_loops(e, [1] * len(b), s, o, n)),
    ("mean of batch sizes", "averaged", lambda e, b, s, o, n: hours_numpy(e, b, s, o, n) / len(s)),
    ("one step", "one step", lambda e, b, s, o, n: hours_by_loops(e, [n] * len(b), s, o, n)),
)  # fmt: skip


def best_by_loop(values):
    best, result = math.inf, []
    for value in values:
        if value is not None and value < best:
            best = value
        result.append(best)
    return result


def as_array(values, missing=math.inf):
    return np.array([missing if value is None else value for value in values])


RIGHT["11.best_so_far"] = {
    "loop": best_by_loop,
    "numpy": lambda v: np.minimum.accumulate(as_array(v)).tolist(),
    "slices": lambda v: [
        min((x for x in v[: i + 1] if x is not None), default=math.inf) for i in range(len(v))
    ],
    "torch": lambda v: torch.tensor(as_array(v)).cummin(0).values.tolist(),
}
WRONG["11.best_so_far"] = (
    ("shorter", "shorter", lambda v: best_by_loop([x for x in v if x is not None])),
    ("None is 0", "loss of 0", lambda v: np.minimum.accumulate(as_array(v, 0.0)).tolist()),
    ("starts at 0", "infinite", lambda v: best_by_loop([0.0, *v])[1:]),
    ("highest", "highest", lambda v: np.maximum.accumulate(as_array(v, -math.inf)).tolist()),
    ("the end everywhere", "stands everywhere", lambda v: [best_by_loop(v)[-1] for _ in v]),
    ("one behind", "behind", lambda v: best_by_loop([None, *v])[:-1]),
    ("the losses", "losses themselves", lambda v: as_array(v).tolist()),
    ("None stays", "left as None", lambda v: [best_by_loop(v)[i] if x is not None else None
                                              for i, x in enumerate(v)]),
    ("forgets", "forget", lambda v: [best_by_loop(v)[i] if x is not None else math.inf
                                     for i, x in enumerate(v)]),
    ("the last two", "last two", lambda v: np.minimum(as_array(v), as_array([None, *v[:-1]]))
     .tolist()),
    ("one number", "one number", lambda v: min(x for x in v if x is not None)),
    ("sorted", "sorted", lambda v: sorted(as_array(v).tolist(), reverse=True)),
)  # fmt: skip


def prune_by_hand(loss, epoch, finished, warm_up, least, middle=np.median, far=None):
    """`far`: for how many epochs a trial must have run to be compared with."""
    if epoch < warm_up:
        return False
    others = [run[epoch] for run in finished if len(run) >= (far or epoch + 1)]
    if len(others) < least:
        return False
    return bool(loss > middle(others))


def prune_by_sorting(loss, epoch, finished, warm_up, least):
    others = sorted(run[epoch] for run in finished if epoch < len(run))
    n = len(others)
    if epoch < warm_up or n < least:
        return False
    return loss > (others[(n - 1) // 2] + others[n // 2]) / 2


RIGHT["11.median_prune"] = {
    "numpy": prune_by_hand,
    "sorting": prune_by_sorting,
    "torch": lambda v, e, f, w, m: prune_by_hand(
        v, e, f, w, m, lambda t: torch.tensor(t).quantile(0.5).item()
    ),
}
WRONG["11.median_prune"] = (
    ("turned round", "turned round", lambda *a: not prune_by_hand(*a)),
    ("below", "good half",
     lambda v, e, f, w, m: e >= w and prune_by_hand(-v, e, [[-x for x in r] for r in f], w, m)),
    ("no warm-up", "warm-up plays no part",
     lambda v, e, f, w, m: prune_by_sorting(v, e, f, -1, m)),
    ("warm-up too long", "too long",
     lambda v, e, f, w, m: e > w and prune_by_hand(v, e, f, w, m)),
    ("no least", "plays no part", lambda v, e, f, w, m: prune_by_sorting(v, e, f, w, 1)),
    ("one too many", "too many", lambda v, e, f, w, m: prune_by_sorting(v, e, f, w, m + 1)),
    ("counts all", "all finished trials",
     lambda v, e, f, w, m: len(f) >= m and prune_by_hand(v, e, f, w, 1)),
    ("mean", "mean", lambda *a: prune_by_hand(*a, middle=np.mean)),
    ("best", "best", lambda *a: prune_by_hand(*a, middle=np.min)),
    ("worst", "worst", lambda *a: prune_by_hand(*a, middle=np.max)),
    ("ends", "ended", lambda v, e, f, w, m: len(f) >= m and bool(v > np.median([r[-1] for r in f]))
     and e >= w),
    ("last loss", "last loss", lambda v, e, f, w, m: prune_by_hand(
        v, e, [r + r[-1:] * 9 for r in f], w, m)),
    ("at least", "not above it", lambda *a: prune_by_hand(
        *a, middle=lambda t: np.nextafter(np.median(t), 0))),
    ("lower middle", "lower one", lambda *a: prune_by_hand(
        *a, middle=lambda t: sorted(t)[(len(t) - 1) // 2])),
    ("upper middle", "upper one", lambda *a: prune_by_hand(
        *a, middle=lambda t: sorted(t)[len(t) // 2])),
)  # fmt: skip


def pick_by_loop(values, states, wanted=("complete",)):
    best = None
    for number, state in enumerate(states):
        if state not in wanted or values[number] is None:
            continue
        if best is None or values[number] < values[best]:
            best = number
    return best


def only_complete(values, states, other=math.inf):
    return np.array([v if s == "complete" else other for v, s in zip(values, states, strict=True)],
                    dtype=float)  # fmt: skip


RIGHT["11.pick"] = {
    "loop": pick_by_loop,
    "numpy": lambda v, s: int(np.argmin(only_complete(v, s))),
    "pairs": lambda v, s: min((x, i) for i, x in enumerate(v) if s[i] == "complete")[1],
}
WRONG["11.pick"] = (
    ("pruned", "pruned", lambda v, s: pick_by_loop(v, s, ("complete", "pruned"))),
    ("state ignored", "no part", lambda v, s: int(np.argmin([math.inf if x is None else x
                                                             for x in v]))),
    ("running", "running", lambda v, s: pick_by_loop(v, s, ("complete", "running"))),
    ("failed", "failed", lambda v, s: pick_by_loop(v, s, ("complete", "fail"))),
    ("place in the part", "among the complete",
     lambda v, s: int(np.argmin([x for x, y in zip(v, s, strict=True) if y == "complete"]))),
    ("highest", "highest", lambda v, s: int(np.argmax(only_complete(v, s, -math.inf)))),
    ("the loss", "loss itself", lambda v, s: v[pick_by_loop(v, s)]),
    ("from 1", "from 1", lambda v, s: 1 + pick_by_loop(v, s)),
    ("the first", "first complete",
     lambda v, s: next(i for i, y in enumerate(s) if y == "complete")),
    ("the last", "last complete",
     lambda v, s: [i for i, y in enumerate(s) if y == "complete"][-1]),
    ("of equals the last", "last is chosen",
     lambda v, s: [i for i, x in enumerate(only_complete(v, s)) if x == v[pick_by_loop(v, s)]][-1]),
)  # fmt: skip


# --- 12 ---


def auroc_loop(normal, anomalous):
    won = 0.0
    for a in anomalous.tolist():
        for n in normal.tolist():
            won += 1.0 if a > n else 0.5 if a == n else 0.0
    return won / (len(normal) * len(anomalous))


def auroc_ranks(normal, anomalous):
    """Mann and Whitney: from the ranks of the anomalous among all."""
    both = torch.cat([normal, anomalous])
    ranks = np.array([((both < s).sum() + ((both == s).sum() + 1) / 2).item() for s in anomalous])
    m = len(anomalous)
    return float((ranks.sum() - m * (m + 1) / 2) / (m * len(normal)))


RIGHT["12.auroc"] = {
    "vectorised": lambda n, a: ((a[:, None] > n).double() + 0.5 * (a[:, None] == n)).mean(),
    "loop": auroc_loop,
    "ranks": auroc_ranks,
    "sign": lambda n, a: (torch.sign(a[None] - n[:, None]).double().mean() + 1) / 2,
    "scikit-learn": lambda n, a: float(
        roc_auc_score([0] * len(n) + [1] * len(a), torch.cat([n, a]).numpy())
    ),
}
WRONG["12.auroc"] = (
    ("ties count 0", "tie counts nothing", lambda n, a: (n < a[:, None]).double().mean()),
    ("ties count 1", "whole pair", lambda n, a: torch.ge(a[None], n[:, None]).double().mean()),
    ("sign", "sign is turned", lambda n, a: 1 - auroc_loop(n, a)),
    ("sign, no ties", "sign is turned", lambda n, a: (a[:, None] < n).double().mean()),
    ("pairs counted", "counts the pairs", lambda n, a: auroc_loop(n, a) * (len(a) * len(n))),
    ("above the mean", "mean of the normal", lambda n, a: float(
        (a.numpy() > n.numpy().mean()).mean())),
    ("above the median", "median", lambda n, a: torch.gt(a, n.median()).double().mean()),
    ("above all", "above all", lambda n, a: float(np.mean(a.numpy() > n.numpy().max()))),
    ("difference of means", "difference of means", lambda n, a: a.mean() - n.mean()),
    ("from -1 to 1", "-1 to 1", lambda n, a: (a[:, None] - n).sign().double().mean()),
    ("sum over anomalous", "sum over the anomalous",
     lambda n, a: sum(auroc_loop(n, each[None]) for each in a)),
    ("sum over normal", "sum over the normal",
     lambda n, a: sum(auroc_loop(each[None], a) for each in n)),
)  # fmt: skip


def threshold_loop(scores, share):
    for candidate in sorted(scores):
        if (scores > candidate).sum() <= share * len(scores):
            return candidate


RIGHT["12.threshold"] = {
    "sorted": lambda s, f: s.sort().values[len(s) - 1 - int(f * len(s))],
    "loop": threshold_loop,
    "topk": lambda s, f: s.topk(int(f * len(s)) + 1).values[-1],
    "numpy": lambda s, f: float(np.sort(s.numpy())[::-1][int(f * len(s))]),
    "kthvalue": lambda s, f: s.kthvalue(len(s) - int(f * len(s))).values,
}
WRONG["12.threshold"] = (
    ("wrong end", "wrong end", lambda s, f: s.sort().values[int(f * len(s))]),
    ("interpolated", "interpolated", lambda s, f: float(np.quantile(s.double().numpy(), 1 - f))),
    ("low quantile", "wrong end", lambda s, f: s.quantile(f)),
    ("one too high", "too high", lambda s, f: s.topk(max(1, int(f * len(s)))).values[-1]),
    ("one too low", "too low", lambda s, f: s.sort().values.flip(0)[int(f * len(s)) + 1]),
    ("largest", "largest", lambda s, f: s.max()),
    ("not sorted", "not sorted", lambda s, f: s[int(len(s) * f)]),
    ("two sigma", "bell", lambda s, f: s.mean() + 2 * s.var().sqrt()),
    ("share of the largest", "share of the largest", lambda s, f: (1 - f) * max(s)),
    ("share of the range", "share of the way", lambda s, f: torch.lerp(s.max(), s.min(), f)),
)  # fmt: skip


def in_nats(code_bytes):
    return code_bytes * math.log(256)


RIGHT["12.corrected_score"] = {
    "log 256": lambda nll, b: nll - in_nats(b),
    "in bits": lambda nll, b: (nll / math.log(2) - 8 * b) * math.log(2),
    "loop": lambda nll, b: torch.stack([n - in_nats(c) for n, c in zip(nll, b, strict=True)]),
    "torch": lambda nll, b: torch.sub(nll, b * 8 * torch.tensor(2.0).to(nll).log()),
}
WRONG["12.corrected_score"] = (
    ("bits", "one bit is", lambda nll, b: nll - 8 * b),
    ("bytes for bits", "a byte has 8", lambda nll, b: nll - math.log(2) * b),
    ("bytes", "turn them into bits", lambda nll, b: torch.sub(nll, b)),
    ("added", "added", lambda nll, b: nll + in_nats(b)),
    ("sign", "sign", lambda nll, b: in_nats(b) - nll),
    ("divided by log 2", "divided by log 2", lambda nll, b: nll - 8 * b / math.log(2)),
    ("in bits", "in bits", lambda nll, b: nll * math.log2(math.e) - 8 * b),
    ("divided by 8", "divided by 8", lambda nll, b: nll - math.log(2) * b / 8),
    ("ratio", "ratio", lambda nll, b: nll / in_nats(b)),
    ("base 10", "base 10", lambda nll, b: nll - 8 * b * math.log10(2)),
    ("mean length", "own", lambda nll, b: nll - in_nats(b.mean())),
    ("nothing subtracted", "length plays no part", lambda nll, b: nll.clone()),
)  # fmt: skip


def int8_loop(x, scale, zero_point):
    left = []
    for value in x.flatten().tolist():
        q = min(127, max(-128, round(value / scale) + zero_point))
        left.append((q - zero_point) * scale)
    return torch.tensor(left, dtype=x.dtype).view(x.shape)


def int8_numpy(x, scale, zero_point):
    q = np.clip(np.rint(x.numpy() / scale) + zero_point, -128, 127).astype(np.int8)
    return torch.from_numpy((q.astype(np.float64) - zero_point) * scale).to(x)


RIGHT["12.quantize"] = {
    "vectorised": lambda x, s, z: s * (((x / s).round() + z).clamp(-128, 127) - z),
    "loop": int8_loop,
    "numpy": int8_numpy,
    "torch": lambda x, s, z: torch.fake_quantize_per_tensor_affine(
        x.float(), s, z, -128, 127).to(x),
}  # fmt: skip
WRONG["12.quantize"] = (
    ("no way back", "stored", lambda x, s, z: torch.clamp((x / s).round() + z, -128, 127)),
    ("zero point stays", "not taken off", lambda x, s, z: int8_loop(x, s, z) + z * s),
    ("no scale back", "scale is missing", lambda x, s, z: int8_loop(x, s, z) / s),
    ("no clamp", "clamped", lambda x, s, z: s * torch.round(x / s)),
    ("unsigned", "unsigned", lambda x, s, z: (((x / s).round() + z).clip(0, 255) - z) * s),
    ("symmetric", "-127", lambda x, s, z: (((x / s).round() + z).clip(-127, 127) - z) * s),
    ("floor", "rounded down", lambda x, s, z: ((x // s + z).clamp(-128, 127) - z) * s),
    ("int()", "cut off",
     lambda x, s, z: (((x / s).long() + z).clamp(-128, 127) - z).to(x) * s),
    ("not rounded", "nothing is rounded",
     lambda x, s, z: torch.clamp(x, (-128 - z) * s, (127 - z) * s)),
    ("no zero point", "zero point plays no part", lambda x, s, z: int8_loop(x, s, 0)),
    ("zero point the other way", "other way round", lambda x, s, z: int8_loop(x, s, -z)),
    ("scale the other way", "other way round", lambda x, s, z: int8_loop(x, 1 / s, z)),
    ("added twice", "added on the way back", lambda x, s, z: int8_loop(x, s, z) + 2 * z * s),
)  # fmt: skip
