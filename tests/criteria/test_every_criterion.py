"""What holds for every criterion: differentiable, finite, precise, and clear when refusing."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from e2mc.criteria import (
    CRITERIA,
    E2MC,
    MEC,
    MMCR,
    CorInfoMax,
    Criterion,
    EntropyReconstruction,
    KoLeo,
    MutualInformation,
    RadialVCReg,
    SIGReg,
    Uniformity,
    VCReg,
    VISReg,
)

FORMS: dict[str, Callable[[], Criterion]] = {
    "e2mc-cube": lambda: E2MC("hypercube", 1.0, 100.0),
    "e2mc-auto": lambda: E2MC("hypersphere", 1.0, "auto"),
    "e2mc-sphere": lambda: E2MC("hypersphere", 1.0, 25.0),
    "vcreg": VCReg,
    "vcreg-projector": lambda: VCReg(space="projector"),
    "auh": Uniformity,
    "mmcr": lambda: MMCR(local_weight=0.1),
    "mec": MEC,
    "corinfomax": CorInfoMax,
    "corinfomax-alone": lambda: CorInfoMax(invariance_weight=10.0, epsilon=1e-3),
    "er": EntropyReconstruction,
    "er-plug-in": lambda: EntropyReconstruction(estimator="plug-in"),
    "mi": MutualInformation,
    "mi-series": lambda: MutualInformation(form="series"),
    "koleo": KoLeo,
    "koleo-3": lambda: KoLeo(neighbours=3),
    "sigreg": lambda: SIGReg(slices=32),
    "visreg": lambda: VISReg(slices=32),
    "radial": RadialVCReg,
}
HELD = {"mi-series", "visreg"}  # part of their value is held constant: see their own tests
every_form = pytest.mark.parametrize("form", FORMS)


def test_every_name_of_a_configuration_is_tested() -> None:
    assert {type(make()) for make in FORMS.values()} == set(CRITERIA.values())


@pytest.mark.parametrize("form", [form for form in FORMS if form not in HELD])
@pytest.mark.parametrize(("n", "d"), [(7, 4), (4, 9)])
def test_gradcheck(form: str, n: int, d: int) -> None:
    criterion = FORMS[form]()
    views = [torch.randn(n, d, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    with torch.no_grad():
        criterion(views)  # moving averages get a past
    criterion.eval()
    assert torch.autograd.gradcheck(lambda *z: criterion(z), views)


def awkward(case: str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2, 12, 6, generator=generator)
    if case == "constant columns":
        z[:, :, ::2] = 0.7
    elif case == "constant views":
        z[:] = 0.7
    elif case == "repeated rows":
        z[:, 6:] = z[:, :6]
    elif case == "equal views":
        z[1] = z[0]
    elif case == "zero rows":
        z[:, ::3] = 0.0
    elif case == "saturated":
        z = 1e4 * z.sign()
    elif case == "two rows":
        z = z[:, :2]
    elif case == "two columns":
        z = z[:, :, :2]
    elif case == "many columns":
        z = torch.randn(2, 3, 300, generator=generator)
    return list(z)


@every_form
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "case",
    [
        "constant columns",
        "constant views",
        "repeated rows",
        "equal views",
        "zero rows",
        "saturated",
        "two rows",
        "two columns",
        "many columns",
    ],
)
def test_finite_in_awkward_cases(form: str, case: str, dtype: torch.dtype) -> None:
    views = [view.to(dtype).requires_grad_() for view in awkward(case)]
    criterion = FORMS[form]()
    for _ in range(3):
        loss = criterion(views)
        assert loss.dtype == torch.float32
        assert loss.isfinite()
    if dtype == torch.float32:
        for gradient in torch.autograd.grad(loss, views):
            assert gradient.isfinite().all()


@every_form
def test_a_row_of_zeros_does_not_take_all_the_gradient(form: str) -> None:
    """As a projector that ends in a ReLU gives it; F.normalize would hand it 1e9 and more."""
    whole = awkward("as it is")
    with_zeros = [view.clone() for view in whole]
    for view in with_zeros:
        view[3] = 0.0

    def largest(views: list[Tensor]) -> float:
        views = [view.requires_grad_() for view in views]
        return max(float(g.abs().max()) for g in torch.autograd.grad(FORMS[form]()(views), views))

    assert largest(with_zeros) < 100 * largest(whole)


@every_form
def test_one_dimension(form: str) -> None:
    views = [torch.randn(9, 1, requires_grad=True) for _ in range(2)]
    if form.startswith("er"):
        with pytest.raises(ValueError, match="dimensions"):
            FORMS[form]()(views)
        return
    loss = FORMS[form]()(views)
    assert loss.isfinite()
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(loss, views))


@every_form
def test_float32_outside_autocast(form: str) -> None:
    views = [torch.randn(32, 80) for _ in range(2)]
    expected = FORMS[form]()(views)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = FORMS[form]()(views)
    assert torch.equal(actual, expected)
    exact = FORMS[form]()([view.double() for view in views])
    torch.testing.assert_close(expected.double(), exact, rtol=1e-4, atol=1e-5)


@every_form
def test_row_permutation_and_view_order_change_nothing(form: str) -> None:
    criterion = FORMS[form]().eval()
    views = [torch.randn(20, 5, dtype=torch.float64) for _ in range(2)]
    order = torch.randperm(20)
    expected = criterion(views)
    torch.testing.assert_close(criterion([view[order] for view in views[::-1]]), expected)


@every_form
def test_views_are_not_changed(form: str) -> None:
    views = [torch.rand(10, 40) for _ in range(2)]
    copies = [view.clone() for view in views]
    FORMS[form]()(views)
    assert all(torch.equal(view, copy) for view, copy in zip(views, copies, strict=True))


@every_form
def test_weights_scale_the_loss(form: str) -> None:
    criterion = FORMS[form]()
    terms = criterion.terms(list(torch.randn(2, 20, 5)))
    assert set(criterion.weights) == set(terms)
    assert all(term.ndim == 0 for term in terms.values())
    expected = sum(criterion.weights[name] * float(term) for name, term in terms.items())
    assert float(criterion.weigh(terms)) == pytest.approx(expected, rel=1e-5)
    assert all(name in repr(criterion) for name in terms)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_names_the_view_and_column_that_is_not_finite(value: float) -> None:
    views = list(torch.randn(2, 8, 5))
    views[1][6, 3] = value
    with pytest.raises(ValueError, match=r"view 1, column 3, row 6 is -?(nan|inf) \(1 such"):
        Uniformity()(views)


def test_large_finite_values_are_not_mistaken_for_infinity() -> None:
    assert E2MC("hypercube", 1.0, 1.0)([torch.full((4, 3), 3e38)]).isfinite()


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ([], "at least 1 view"),
        ([torch.zeros(3)], r"view 0 must be \(n, d\), got \(3,\)"),
        ([torch.zeros(3, 0)], r"view 0 must be \(n, d\)"),
        ([torch.zeros(3, 2), torch.zeros(4, 2)], r"view 1 is \(4, 2\) but view 0 is \(3, 2\)"),
        ([torch.zeros(3, 2, dtype=torch.int64)], "floating-point"),
        ([torch.zeros(1, 2)], r"1 row\(s\)"),
        ({"a": torch.zeros(3, 2)}, r"takes a list of views, each \(n, d\), and got .*dict"),
        ([np.zeros((3, 2))], r"view 0 must be a tensor, got .*ndarray"),
    ],
)
def test_refuses_misshapen_views(views: list[Tensor], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        E2MC("hypercube", 1.0, 1.0)(views)


@every_form
def test_views_of_two_precisions_are_computed_in_the_higher(form: str) -> None:
    a, b = torch.randn(2, 9, 4, dtype=torch.float64)
    a = a.float()
    torch.testing.assert_close(FORMS[form]()([a, b]), FORMS[form]()([a.double(), b]))


@pytest.mark.parametrize("kind", [MEC, MutualInformation])
def test_pairwise_criteria_need_two_views(kind: type[Criterion]) -> None:
    with pytest.raises(ValueError, match="at least 2 view"):
        kind()([torch.randn(4, 3)])  # type: ignore[call-arg]
