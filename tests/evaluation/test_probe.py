import numpy as np
import pytest
import torch

from e2mc.config.fits import LinearFit
from e2mc.data.sampling import epoch_batches
from e2mc.errors import E2MCError
from e2mc.evaluation.probe import Head, fit_heads
from tests.evaluation.cached_features import clusters

EPOCHS = 5


def fit(**changes):
    recipe = {"learning_rate": 0.05, "weight_decay": 1e-3, "batch_size": 16, "epochs": EPOCHS}
    return LinearFit(**{**recipe, **changes})


@pytest.fixture(scope="module")
def data():
    x, y = clusters(50, 12, 3, EPOCHS)
    test_x, test_y = clusters(40, 12, 3, 1, seed=1)
    return x, y, test_x[0], test_y


def run(data, heads, views=EPOCHS, **options):
    x, y, test_x, test_y = data
    return fit_heads(lambda v: x[v], views, y, test_x, test_y, 3, heads, **options)


def apex_larc(parameters, decay, trust=0.001):
    """apex/parallel/LARC.py with clip=False, re-typed."""
    for p in parameters:
        size, slope = torch.norm(p.data), torch.norm(p.grad.data)
        if size != 0 and slope != 0:
            adaptive = trust * size / (slope + size * decay + 1e-8)
            p.grad.data += decay * p.data
            p.grad.data *= adaptive


def plain(data, recipe, seed, views=EPOCHS):
    """nn.Linear with autograd and torch.optim.SGD."""
    x, y, test_x, test_y = data
    model = torch.nn.Linear(x.shape[2], 3).double()
    generator = torch.Generator().manual_seed(seed)
    weight = torch.empty(3, x.shape[2], dtype=torch.float64).normal_(0, 0.01, generator=generator)
    model.weight.data.copy_(weight)
    model.bias.data.zero_()
    larc = recipe.rule == "larc"
    decay = 0.0 if larc else recipe.weight_decay
    optimizer = torch.optim.SGD(model.parameters(), recipe.learning_rate, 0.9, weight_decay=decay)
    if recipe.milestones:
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, recipe.milestones)
    else:
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs)
    history = []
    for epoch in range(recipe.epochs):
        rate = optimizer.param_groups[0]["lr"]
        total = 0.0
        for rows in epoch_batches(np.arange(len(y)), recipe.batch_size, seed, epoch, least=1):
            logits = model(torch.from_numpy(x[epoch % views][rows]))
            loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(y[rows]))
            total += loss.item() * len(rows)
            optimizer.zero_grad()
            loss.backward()
            if larc:
                apex_larc(model.parameters(), recipe.weight_decay)
            optimizer.step()
        schedule.step()
        predicted = model(torch.from_numpy(test_x)).argmax(1).numpy()
        history.append((epoch + 1, 100 * (predicted == test_y).mean(), total / len(y), rate))
    return model, history, predicted


RECIPES = [
    {},
    {"batch_size": 7},  # of 50 images the last batch has one
    {"weight_decay": 0.0},
    {"milestones": (2, 4)},
    {"rule": "larc", "learning_rate": 20.0, "weight_decay": 0.0},
    {"rule": "larc", "learning_rate": 20.0, "weight_decay": 1e-3},
]


@pytest.mark.parametrize("changes", RECIPES)
@pytest.mark.parametrize("views", [EPOCHS, 2])
def test_equals_autograd_and_torch_sgd_in_float64(data, changes, views):
    recipe = fit(**changes)
    (fitted,) = run(data, [Head(recipe, 7)], views)
    model, history, predicted = plain(data, recipe, 7, views)
    np.testing.assert_allclose(fitted.weight, model.weight.detach(), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(fitted.bias, model.bias.detach(), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(fitted.history, history, rtol=1e-10, atol=1e-13)
    np.testing.assert_array_equal(fitted.predictions, predicted)
    assert np.abs(fitted.weight).max() > 0.02, "the probe must have learned something"


@pytest.mark.parametrize("rule", ["sgd", "larc"])
def test_heads_that_train_together_end_as_each_alone(data, rule):
    heads = [
        Head(fit(rule=rule, learning_rate=rate, weight_decay=decay), seed)
        for rate, decay, seed in [(0.05, 0, 1), (0.05, 1e-2, 1), (0.5, 1e-3, 1), (0.05, 0, 2)]
    ]
    for head, fitted in zip(heads, run(data, heads), strict=True):
        (alone,) = run(data, [head])
        np.testing.assert_allclose(fitted.weight, alone.weight, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(fitted.history, alone.history, rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(fitted.predictions, alone.predictions)


def test_seeds_give_other_weights_and_other_batches(data):
    one, other = run(data, [Head(fit(), 1), Head(fit(), 2)])
    assert np.abs(one.weight - other.weight).max() > 1e-3


def test_half_precision_products_agree_to_their_precision():
    x, y = clusters(600, 32, 3, 2, spread=1.5)
    test_x, test_y = clusters(300, 32, 3, 1, seed=1, spread=1.5)
    data = x.astype(np.float16), y, test_x[0].astype(np.float16), test_y
    heads = [Head(fit(epochs=20), 0)]
    (full,) = run(data, heads, 2)
    (half,) = run(data, heads, 2, precision="bfloat16")
    assert full.weight.dtype == half.weight.dtype == np.float32
    scale = np.abs(full.weight).max()
    difference = np.abs(full.weight - half.weight).max()
    assert 0 < difference < 0.02 * scale
    assert abs(full.history[-1].top1 - half.history[-1].top1) < 1


def test_same_bits_every_time(data):
    first, second = (run(data, [Head(fit(), 3)])[0] for _ in range(2))
    np.testing.assert_array_equal(first.weight, second.weight)


def test_refusals(data):
    with pytest.raises(E2MCError, match="one `epochs`"):
        run(data, [Head(fit(), 0), Head(fit(epochs=3), 0)])
    with pytest.raises(E2MCError, match=r"diverged; lower its learning rate"):
        x = data[0].copy()
        x[1, 0] = np.nan
        run((x, *data[1:]), [Head(fit(), 0)])
    with pytest.raises(E2MCError, match="labels from 0 to 2"):
        run((data[0], data[1] + 1, *data[2:]), [Head(fit(), 0)])
