"""Bad arguments: each check raises a `ValueError` that names one, what came and what was expected.

Values of tensors on a GPU are not looked at, because that would make the GPU wait at each step.
"""

import math
import numbers
import os

import numpy as np
import torch


def check_whole(least=0, **values):
    """Each value is a whole number, at least `least`."""
    for name, value in values.items():
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if not whole or value < least:
            raise ValueError(f"{name} is {brief(value)}; expected a whole number, at least {least}")


def check_number(expected="a finite number", ok=lambda value: True, **values):
    """Each value is a finite number for which `ok(value)` holds; `expected` says so in words."""
    for name, value in values.items():
        number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not number or not _is_finite(value) or not ok(value):
            raise ValueError(f"{name} is {brief(value)}; expected {expected}")


def _is_finite(value):
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond all floats
        return False


def check_positive(**values):
    """Each value is a finite number above zero."""
    check_number("a positive number", lambda value: value > 0, **values)


def check_text(**values):
    """Each value is a string with at least one letter."""
    for name, value in values.items():
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{name} is {brief(value)}; expected some words")


def check_finite(**tensors):
    """Each tensor has neither NaN nor infinity."""
    if torch.compiler.is_compiling():  # an exported graph cannot ask
        return
    for name, tensor in tensors.items():
        # The sum is quick and nearly always tells: this is asked at each step of training.
        known = tensor.device.type != "cpu" or math.isfinite(tensor.detach().sum().item())
        if not known and not tensor.isfinite().all():
            raise ValueError(
                f"{name} has NaN or infinite values; expected finite numbers "
                "(where training diverged, a smaller lr helps, or clip=1)"
            )


def check_function(**values):
    """Each value can be called."""
    for name, value in values.items():
        if not callable(value):
            raise ValueError(f"{name} is {brief(value)}; expected a function")


def check_path(**values):
    """Each value is the name of a file or folder."""
    for name, value in values.items():
        if not isinstance(value, str | os.PathLike) or not str(value):
            raise ValueError(f"{name} is {brief(value)}; expected the name of a file or folder")


def check_model(model, *needed, name="model"):
    """`model` is a module with weights, and has the attributes `needed`."""
    module = isinstance(model, torch.nn.Module)
    if not module or next(model.parameters(), None) is None:
        raise ValueError(f"{name} is {brief(model)}; expected an nn.Module with weights")
    missing = [attribute for attribute in needed if not hasattr(model, attribute)]
    if missing:
        raise ValueError(
            f"{name} is {type(model).__name__}, which has no {', '.join(missing)}; "
            "expected a model like those of vae_helpers.models"
        )


def check_image_shape(image_shape):
    """`image_shape` is (channels, height, width)."""
    if not isinstance(image_shape, tuple | list | torch.Size) or len(image_shape) != 3:
        raise ValueError(f"image_shape is {brief(image_shape)}; expected (channels, height, width)")
    for size in image_shape:
        check_whole(1, image_shape=size)


def brief(value):
    """What came, in a few words: a tensor's type and shape, not its values."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{type(value).__name__} {tuple(value.shape)} of {value.dtype}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def as_tensor(values):
    """Numbers of numpy as a tensor, all else as it came."""
    numbers = isinstance(values, np.ndarray) and values.dtype.kind in "fiub"
    return torch.from_numpy(values) if numbers else values
