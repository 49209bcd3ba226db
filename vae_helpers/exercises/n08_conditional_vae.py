"""Exercises of notebook 08."""

from vae_helpers.exercises.engine import Exercise

import torch
import torch.nn.functional as F


def with_label(z, y, classes):
    """The input of a conditional decoder, `(n, latent_dim + classes)`: code, then one-hot label.

    `z`: `(n, latent_dim)`; `y`: int64 `(n,)` from 0 to classes - 1.
    """
    return torch.cat([z, F.one_hot(y, classes).to(z.dtype)], dim=1)


def joined(z, labels):
    return torch.cat([z, labels.to(z.dtype)], dim=1)


WITH_LABEL = Exercise(
    with_label,
    cases=lambda draw: [
        (draw(1, 1), torch.tensor([1]), 3),
        (draw(3, 2), torch.tensor([7, 0, 7]), 10),
        (draw(4, 4), torch.tensor([1, 2, 0, 1]), 4),
        (draw(5, 3), torch.tensor([0, 1, 0, 1, 1]), 2),
    ],
    mistakes=(
        (lambda z, y, c: joined(z, y[:, None]), "The label is one number here: a 7 is not seven "
         "times a 1. Expected one-hot."),
        (lambda z, y, c: joined(z, y[:, None].expand(-1, c)), "The label is repeated as a number: "
         "expected one-hot, a 1 in its place and 0 elsewhere."),
        (lambda z, y, c: torch.cat([F.one_hot(y, c).to(z), z], dim=1), "The order: the code comes "
         "first, then the label."),
        (lambda z, y, c: joined(z, torch.eye(c)[y - 1]), "The labels are shifted by one: a 0 has "
         "its 1 in the first place."),
        (lambda z, y, c: joined(z, F.one_hot(y)), "The number of classes is taken from the labels "
         "in this batch: a batch without the last class would be too narrow."),
        (lambda z, y, c: joined(z, torch.eye(c)[0 * y]), "Everybody is asked for class 0."),
        (lambda z, y, c: F.one_hot(y, c).to(z), "The code is missing."),
        (lambda z, y, c: z, "The label is missing: nobody can ask for a class."),
        (lambda z, y, c: torch.cat([z, F.one_hot(y, c).to(z)], dim=0), "Joined along the batch: "
         "expected side by side, along the other axis."),
        (lambda z, y, c: joined(z, 1 - F.one_hot(y, c)), "0 and 1 are swapped in the label."),
        (lambda z, y, c: joined(z, F.one_hot(c - 1 - y, c)), "The classes are counted from the "
         "end."),
        (lambda z, y, c: joined(z, torch.eye(c).roll(1, 1)[y]), "The labels are shifted by one."),
    ),
)  # fmt: skip


def conditional_accuracy(logits, asked):
    """The share of samples in which a classifier sees the class that was asked for: a number.

    `logits`: `(n, classes)`, what the classifier says of the samples; `asked`: int64 `(n,)`.
    """
    return (logits.argmax(dim=1) == asked).double().mean().item()


def of_asked(values, asked):
    return values.gather(1, asked[:, None]).mean().item()


CONDITIONAL_ACCURACY = Exercise(
    conditional_accuracy,
    cases=lambda draw: [
        (draw(n, c) + right * F.one_hot(torch.arange(n) * 7 % c, c), torch.arange(n) * 7 % c)
        for n, c, right in ((2, 3, 0), (1, 4, 9), (30, 10, 2), (10, 10, 1), (7, 5, 1), (4, 4, 0))
    ],
    mistakes=(
        (lambda l, a: (l.argmax(0) == a).double().mean().item(), "Wrong axis: the largest logit of "
         "each sample is asked for, not that of each class."),
        (lambda l, a: (l.argmax(1) != a).double().mean().item(), "This is the share of errors."),
        (lambda l, a: (l.argmax(1) == a).sum(), "This counts the samples; expected their share."),
        (lambda l, a: of_asked(l.softmax(1), a), "This is the mean probability of the class asked "
         "for; expected how often it is the most probable one."),
        (lambda l, a: l.softmax(1).amax(1).mean().item(), "This is how sure the classifier is; "
         "whether it is right plays no part."),
        (lambda l, a: (l.argmax(1) == 0).double().mean().item(), "The samples are compared with "
         "class 0, whatever was asked for."),
        (lambda l, a: (l.argmin(1) == a).double().mean().item(), "The least probable class is "
         "taken."),
        (lambda l, a: (l.argmax(1) == a).double(), "This is right or wrong for each sample; "
         "expected the share."),
        (lambda l, a: 100 * conditional_accuracy(l, a), "These are percent; expected a share from "
         "0 to 1."),
        (lambda l, a: (l.gather(1, a[:, None]) > 0).double().mean().item(), "Whether the logit is "
         "positive is not the question: it must be the largest."),
        (lambda l, a: (of_asked_probability(l, a) > 0.5).double().mean().item(), "More than one "
         "half is not asked for: the class must be the most probable one."),
        (lambda l, a: (l.argmax(1)[:, None] == a).double().mean().item(), "Every sample is "
         "compared with every class asked for (broadcasting); expected with its own."),
        (lambda l, a: float((l.argmax(1) == a).all()), "This is whether all are right; expected "
         "the share."),
    ),
)  # fmt: skip


def of_asked_probability(logits, asked):
    return logits.softmax(1).gather(1, asked[:, None])


def class_posterior(log_likelihood, log_prior):
    """p(y|x) by Bayes: `(n, classes)`, rows that sum to 1.

    `log_likelihood`: `(n, classes)`, log p(x|y) in nats; `log_prior`: `(classes,)`, log p(y).
    """
    return (log_likelihood + log_prior).softmax(dim=1)


CLASS_POSTERIOR = Exercise(
    class_posterior,
    cases=lambda draw: [
        (2 * draw(n, c) - 3, draw(c).log_softmax(0)) for n, c in ((1, 2), (3, 5), (4, 4), (6, 10))
    ],
    gradient=(0,),
    mistakes=(
        (lambda l, p: l.softmax(1), "The prior plays no part."),
        (lambda l, p: (l + p).softmax(0), "Wrong axis: for each image the probabilities of its "
         "classes must sum to 1."),
        (lambda l, p: (l + p.exp()).softmax(1), "A probability is added to a logarithm: the prior "
         "comes as a logarithm already."),
        (lambda l, p: (l - p).softmax(1), "Divided by the prior; expected times."),
        (lambda l, p: (p - l).softmax(1), "The sign of the likelihood: the worst class gets most."),
        (lambda l, p: (-l - p).softmax(1), "The sign: the least probable class gets most."),
        (lambda l, p: (l + p).log_softmax(1), "These are the logarithms; expected probabilities."),
        (lambda l, p: (l + p).exp(), "Not normalised: this is p(x, y); its row must be divided by "
         "its sum, p(x)."),
        (lambda l, p: (l * p).softmax(1), "Logarithms are multiplied here; the logarithm of a "
         "product is a sum."),
        (lambda l, p: (l + p) / (l + p).sum(1, keepdim=True), "Logarithms are normalised here as "
         "if they were probabilities: exp is missing."),
        (lambda l, p: l.softmax(1) * p.exp(), "Not normalised: the prior comes in after the "
         "division, so the rows do not sum to 1."),
    ),
    extreme=lambda draw: [(draw(2, 4) + level, draw(4).log_softmax(0)) for level in (-2000, 1000)],
    extreme_hint="exp of such numbers is 0 or infinite (an image has p(x|y) near exp(-90)): "
    "subtract the maximum of each row first, or use a function that does.",
)  # fmt: skip


EXERCISES = {
    "with_label": WITH_LABEL,
    "conditional_accuracy": CONDITIONAL_ACCURACY,
    "class_posterior": CLASS_POSTERIOR,
}
