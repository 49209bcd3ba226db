"""Training and evaluation of any model here, from tensors in memory."""

import copy
import glob
import io
import math
import os
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from vae_helpers.checks import (
    brief,
    check_function,
    check_model,
    check_path,
    check_positive,
    check_whole,
)
from vae_helpers.data import check_images, to_float
from vae_helpers.losses import negative_elbo

import torch
from tqdm import tqdm


def pick_device(device=None):
    """The device asked for, else a CUDA GPU where there is one, else the CPU."""
    gpu = torch.cuda.is_available()
    if device is None:
        return torch.device("cuda" if gpu else "cpu")
    known = isinstance(device, str | torch.device) and str(device).startswith(("cpu", "cuda"))
    if not known or (not gpu and str(device).startswith("cuda")):
        raise ValueError(f"device is {brief(device)}; expected 'cpu'" + " or 'cuda'" * gpu)
    return torch.device(device)


def choose_profile(name, **profiles):
    """The settings of the profile called `name`, and a printed table of all profiles.

    `profiles`: a dict of settings for each profile, all with the same keys.
    """
    if not isinstance(name, str) or name not in profiles:
        raise ValueError(f"PROFILE is {brief(name)}; expected one of {', '.join(profiles)}")
    for profile, settings in profiles.items():
        if not isinstance(settings, dict) or not settings or [*settings] != [*profiles[name]]:
            raise ValueError(f"{profile} is {brief(settings)}; expected settings as in {name}")
    keys = list(profiles[name])
    width = max(map(len, keys))
    columns = {p: [f"> {p} <" if p == name else p, *(f"{s[k]:,}" for k in keys)]
               for p, s in profiles.items()}  # fmt: skip
    for row, key in enumerate(["profile", *keys]):
        print(key.ljust(width), *(cells[row].rjust(12) for cells in columns.values()))
    return profiles[name]


def fit(
    model,
    train,
    validation=None,
    *,
    loss=negative_elbo,
    epochs=10,
    batch_size=128,
    lr=1e-3,
    clip=None,
    cosine=False,
    beta=None,
    measure=None,
    seed=0,
    device=None,
    checkpoint=None,
    config=None,
    quiet=False,
):
    """Train `model` with Adam and return its history.

    `train`, `validation`: images `(n, ...)`, or a tuple of tensors of equal length (images,
    labels, ...). Byte images (uint8) become floats in [0, 1] batch by batch.
    `loss(model, *batch)`: a dict of `(batch,)` tensors in nats, `"loss"` among them.
    `clip`: the largest gradient norm. `cosine`: after a short warm-up the learning rate falls
    from `lr` to 0 along a half cosine. `beta(progress)`: a schedule; at each step of training the
    loss gets `beta=` its value, progress going from 0 to 1 (validation: beta as the loss has it).
    `measure(model)`: a dict of numbers, asked for after each epoch and kept in the history as
    `"measured"`. `config`: anything worth keeping with the weights.
    `checkpoint`: a file written after each epoch. If it exists already, training goes on from
    there, to the same weights bit for bit (on a CPU) as if it had never stopped; a finished one
    is only loaded. One of another run (other settings, or a loss or schedule of another name) is
    refused.

    Each epoch draws its batches and its noise from a seed of its own (`seed` and the epoch), so
    that the caller's random numbers are left alone. An interrupt (Ctrl-C, the stop button) ends
    training and keeps model and history.

    Returns `{"train": {term: [mean per epoch]}, "validation": {...}}`, nats per image (and
    `"measured"`, where `measure` is given); the
    training means run over the epoch while the weights change. Raises `ValueError` for bad
    input, before anything is trained, and when training diverges (after that epoch; a checkpoint
    keeps the one before), and `OSError` for a checkpoint that cannot be written.
    """
    check_model(model)
    check_whole(1, epochs=epochs, batch_size=batch_size)
    check_whole(seed=seed)
    check_positive(lr=lr, **({} if clip is None else {"clip": clip}))
    given = {"loss": loss, "beta": beta, "measure": measure}
    check_function(**{name: f for name, f in given.items() if f is not None or name == "loss"})
    epochs, batch_size, seed = int(epochs), int(batch_size), int(seed)  # of numpy, perhaps
    lr, clip = float(lr), None if clip is None else float(clip)
    device = pick_device(device)
    train = _tensors(train, "train", device)
    validation = None if validation is None else _tensors(validation, "validation", device)
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    run = {
        "batch_size": batch_size, "lr": lr, "clip": clip, "seed": seed, "images": len(train[0]),
        "cosine_epochs": epochs if cosine else None, "loss": _name(loss), "beta": _name(beta),
        "mean_pixel": round(_mean_pixel(train[0]), 6),
    }  # fmt: skip
    splits = ("train", "validation") if measure is None else ("train", "validation", "measured")
    history = {split: defaultdict(list) for split in splits}
    first = 0
    if checkpoint is not None:
        check_path(checkpoint=checkpoint)
        checkpoint = Path(checkpoint)
        first = _resume(checkpoint, model, optimizer, run, config, history)
        if first and not quiet:
            print(f"{checkpoint.name}: {first} epochs already trained, loaded.")

    steps = -(-len(train[0]) // batch_size)
    bar = tqdm(
        total=epochs * steps, initial=min(first, epochs) * steps, disable=quiet, leave=False,
        file=sys.stdout, ncols=100, mininterval=0.5, unit="step",
    )  # fmt: skip
    try:
        if not quiet and first < epochs:
            _say_cost(model, train, loss, batch_size, (epochs - first) * steps, bar)
        for epoch in range(first, epochs):
            epoch_seed = seed * 100_003 + epoch
            done = range(epoch * steps, (epoch + 1) * steps)
            rates = [lr * _rate(step, epochs * steps) if cosine else lr for step in done]
            options = [
                {"beta": beta(step / (epochs * steps))} if beta is not None else {} for step in done
            ]
            means = {"train": _train_epoch(
                model, train, loss, optimizer, batch_size, rates, options, clip, epoch_seed, bar
            )}  # fmt: skip
            if validation is not None:
                means["validation"] = evaluate(model, validation, loss=loss, seed=seed)
            if measure is not None:
                with evaluation(model, seed):
                    means["measured"] = measure(model)
                if not isinstance(means["measured"], dict):
                    raise ValueError(
                        f"measure gave {brief(means['measured'])}; expected a dict of numbers"
                    )
            if not math.isfinite(sum(means["train"].values())):
                raise ValueError(
                    f"the loss of epoch {epoch + 1} is NaN or infinite: training diverged. "
                    f"A smaller lr than {lr:g} helps, or clip=1."
                )
            for split, terms in means.items():
                for term, value in terms.items():
                    history[split][term].append(value)
            if checkpoint is not None:
                _save_or_say(checkpoint, model, optimizer, epoch + 1, run, config, history, bar)
    except KeyboardInterrupt:
        done = len(history["train"]["loss"])
        bar.write(
            f"Interrupted in epoch {done + 1}: the model and {done} epochs of history are kept."
        )
    finally:
        bar.close()
    history = {split: dict(terms) for split, terms in history.items()}
    if not quiet:
        _print_last(history)
    return history


def _resume(path, model, optimizer, run, config, history):
    """Load what an earlier `fit` of the same run left at `path`; the number of its epochs, or 0."""
    _check_plain(config)
    _check_writable(path)
    if not path.exists():
        return 0
    saved = _read_checkpoint(path, model)
    if saved.get("run") != run or saved["config"] != config:
        raise ValueError(
            f"{path} was trained with {saved.get('run')}, config {saved.get('config')}; "
            f"asked for are {run}, config {config}. Delete it or choose another name."
        )
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    for split, terms in saved["history"].items():
        history.setdefault(split, defaultdict(list)).update(terms)
    return saved["epoch"]


def _name(function):
    """What a checkpoint knows of a function, so that it is not resumed with another one."""
    return None if function is None else getattr(function, "__qualname__", type(function).__name__)


def _mean_pixel(images):
    """In [0, 1]. Bytes are added up in parts: torch would widen all of them at once."""
    if images.is_floating_point():
        return images.mean(dtype=torch.float64).item()
    return sum(part.sum().item() for part in images.split(1000)) / images.numel() / 255


def _batch(data, rows):
    """These rows of every tensor. Byte images become floats only here."""
    images, *others = (tensor[rows] for tensor in data)
    return to_float(images), *others


def _say_cost(model, train, loss, batch_size, steps, bar):
    """Print how long `steps` will take, measured on a copy, so that the model stays as it is."""
    trial = copy.deepcopy(model).train()
    optimizer = torch.optim.Adam(trial.parameters(), fused=True)
    device = train[0].device
    with _random_numbers(0, device):
        for step in range(6):
            if step == 1:  # the first step warms up
                start = time.perf_counter()
            loss(trial, *_batch(train, slice(batch_size)))["loss"].mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
    seconds = (time.perf_counter() - start) / 5 * steps
    parameters = sum(p.numel() for p in model.parameters())
    bar.write(
        f"{parameters:,} parameters, {steps:,} steps of {batch_size} images on {device.type}: "
        f"about {max(1, round(seconds))} s."
    )


def _print_last(history):
    parts = [
        f"{split} {terms['loss'][-1]:.2f}" for split, terms in history.items() if terms.get("loss")
    ]
    if parts:
        epochs = len(history["train"]["loss"])
        print(f"After {epochs} epochs, loss in nats per image: {', '.join(parts)}.")


def _rate(step, steps, warm_up=200):
    """The factor on the learning rate: up over the first steps, then along a half cosine to 0."""
    return min(1, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _train_epoch(model, train, loss, optimizer, batch_size, rates, options, clip, seed, bar):
    """One pass over the data in a random order; the mean of each term over the epoch."""
    model.train()
    device = train[0].device
    totals = defaultdict(lambda: torch.zeros((), device=device))
    with _random_numbers(seed, device):
        order = torch.randperm(len(train[0]), device=device)
        for step, rows in enumerate(order.split(batch_size)):
            terms = loss(model, *_batch(train, rows), **options[step])
            check_terms(terms, len(rows))
            optimizer.param_groups[0]["lr"] = rates[step]
            optimizer.zero_grad()
            terms["loss"].mean().backward()
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            for term, values in terms.items():
                totals[term] += values.detach().sum()
            if step % 50 == 0:  # reading a number makes a GPU wait, so not at each step
                bar.set_postfix_str(f"loss {terms['loss'].mean().item():.1f} nats", refresh=False)
            bar.update()
    return {term: total.item() / len(order) for term, total in totals.items()}


@contextmanager
def evaluation(model, seed=0):
    """Evaluation mode, no gradients, random numbers from `seed`; all as before at the end."""
    check_model(model)
    check_whole(seed=seed)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), _random_numbers(seed, device):
            yield device
    finally:
        model.train(was_training)


@contextmanager
def _random_numbers(seed, device):
    """Random numbers from `seed`; the caller's go on afterwards as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def per_image(model, data, *, loss=negative_elbo, batch_size=1000, seed=0):
    """Every term of the loss for every image: a dict of `(n,)` tensors on the CPU, nats.

    The model is in evaluation mode, and the noise comes from `seed`, so that the answer repeats.
    """
    check_function(loss=loss)
    check_whole(1, batch_size=batch_size)
    terms = defaultdict(list)
    with evaluation(model, seed) as device:
        data = _tensors(data, "data", device)
        for images, *others in zip(
            *(tensor.split(int(batch_size)) for tensor in data), strict=True
        ):
            batch = loss(model, to_float(images), *others)
            check_terms(batch, len(images))
            for term, values in batch.items():
                terms[term].append(values.cpu())
    return {term: torch.cat(values) for term, values in terms.items()}


def evaluate(model, data, *, loss=negative_elbo, batch_size=1000, seed=0):
    """The mean of every term of the loss over `data`: a dict of floats, nats per image."""
    terms = per_image(model, data, loss=loss, batch_size=batch_size, seed=seed)
    return {term: values.mean().item() for term, values in terms.items()}


def save_checkpoint(path, model, optimizer=None, **extra):
    """Write weights, optimiser state and `extra` (plain numbers, strings, lists, dicts) to `path`.

    The file appears whole or not at all. Raises `OSError` with the path if it cannot be written.
    """
    check_path(path=path)
    check_model(model)
    path = Path(path)
    _check_writable(path)
    state = {
        "architecture": str(model),
        "model": model.state_dict(),
        "optimizer": None if optimizer is None else optimizer.state_dict(),
        **extra,
    }
    content = io.BytesIO()
    torch.save(state, content)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    for left in path.parent.glob(f"{glob.escape(path.name)}.*.partial"):
        if time.time() - left.stat().st_mtime > 3600:  # of a program that was killed
            left.unlink(missing_ok=True)


def load_checkpoint(path, model, optimizer=None):
    """Load what `save_checkpoint` wrote into `model` (and `optimizer`); return all that was saved.

    Only tensors and plain data are read, never code. Raises `FileNotFoundError`, and `ValueError`
    for a damaged or foreign file and for weights of another architecture.
    """
    check_path(path=path)
    check_model(model)
    saved = _read_checkpoint(Path(path), model)
    model.load_state_dict(saved["model"])
    if optimizer is not None and saved["optimizer"] is not None:
        optimizer.load_state_dict(saved["optimizer"])
    return saved


def _read_checkpoint(path, model):
    """What the file holds, if it fits `model`; the model is not touched."""
    if not path.exists():
        raise FileNotFoundError(f"no checkpoint at {path}: train first, or check the name")
    content = io.BytesIO(path.read_bytes())
    device = next(model.parameters()).device
    try:
        saved = torch.load(content, weights_only=True, map_location=device)
        if not isinstance(saved, dict):
            raise TypeError(f"a {type(saved).__name__}, not a dict")
        architecture = saved["architecture"]
        shapes = {name: tensor.shape for name, tensor in saved["model"].items()}
    except Exception as error:  # torch.load raises nearly anything for a damaged file
        raise ValueError(
            f"{path} is not a checkpoint of this course, is damaged, or holds code (refused). "
            "Delete it and train again."
        ) from error
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if architecture != str(model) or shapes != expected:
        raise ValueError(
            f"{path} holds another architecture:\n{architecture}\nexpected:\n{model}\n"
            "Build the model that was saved, or choose another file."
        )
    return saved


def _check_plain(config):
    """A config that could not be read back would be noticed too late, after the training."""
    content = io.BytesIO()
    try:
        torch.save(config, content)
        content.seek(0)
        same = bool(torch.load(content, weights_only=True) == config)
    except Exception as error:  # whatever pickling or reading finds wrong
        raise ValueError(
            f"config is {config!r}; expected numbers, strings, lists and dicts"
        ) from error
    if not same:
        raise ValueError(f"config is {config!r}, which does not read back as it was written")


def _save_or_say(path, model, optimizer, epoch, run, config, history, bar):
    """A full disk must not cost the training that is already done."""
    plain = {split: dict(terms) for split, terms in history.items()}
    try:
        save_checkpoint(
            path, model, optimizer, epoch=epoch, run=run, config=config, history=plain
        )  # fmt: skip
    except OSError as error:
        bar.write(f"Checkpoint not written ({error}); training goes on.")


def _check_writable(path):
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"cannot make the folder of {path}: {error}") from error
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise OSError(f"cannot write {path}: it is a folder, or its folder is read-only")


def check_terms(terms, n):
    """Raise a `ValueError` unless a loss gave a dict of one number for each of the `n` images."""
    if not isinstance(terms, dict) or "loss" not in terms:
        raise ValueError(f"loss gave {brief(terms)}; expected a dict with 'loss' in it")
    for term, values in terms.items():
        if not isinstance(values, torch.Tensor) or values.shape != (n,):
            raise ValueError(
                f"loss gave {term!r}: {brief(values)}; expected one number for each image, ({n},)"
            )


def _tensors(data, name, device):
    """`data` as a tuple of tensors on `device`; the images among them checked once, on the CPU."""
    data = data if isinstance(data, tuple) and data else (data,)
    check_images(data[0], name=name, or_bytes=True)
    for tensor in data:
        if not isinstance(tensor, torch.Tensor) or tensor.ndim == 0:
            raise ValueError(f"{name} holds {brief(tensor)}; expected tensors")
    if any(len(tensor) != len(data[0]) for tensor in data):
        raise ValueError(f"{name} has tensors of lengths {[len(t) for t in data]}; expected equal")
    return tuple(tensor.to(device) for tensor in data)


def runs_folder():
    """The folder for checkpoints, made if need be: VAE_RUNS, else `../runs` of the notebook's.

    Where it cannot be written (a course installed for a class), a temporary folder that lasts as
    long as this process, and a printed line that says so.
    """
    folder = Path(os.environ.get("VAE_RUNS") or "../runs")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
        cause = "it is read-only"
    except OSError as error:
        cause = error.strerror
    print(
        f"Checkpoints are not kept: {folder} cannot be written ({cause}). They go to a temporary "
        "folder.\nTo keep them, set VAE_RUNS to a folder of yours before you start JupyterLab."
    )
    return Path(_temporary_folder().name)


@cache
def _temporary_folder():
    """One for the process, removed at its end."""
    return tempfile.TemporaryDirectory(prefix="vae-runs-", ignore_cleanup_errors=True)
