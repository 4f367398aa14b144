"""Second derivatives, torch.func and torch.compile, for every criterion."""

import pytest
import torch

from e2mc.criteria import covariance_penalty, marginal_entropy
from tests.criteria.test_covariance import algorithm_1_covariance
from tests.criteria.test_every_criterion import FORMS, HELD
from tests.criteria.test_spacings import algorithm_1_entropy

every_form = pytest.mark.parametrize("form", FORMS)


def on_two_views(form: str):  # type: ignore[no-untyped-def]
    """A function of one (n, d) tensor, with what is remembered held still."""
    criterion = FORMS[form]().eval()
    return lambda z: criterion([z, 0.5 * z.flip(0) + 0.1 * z])


@pytest.mark.parametrize("form", [form for form in FORMS if form not in HELD])
def test_second_derivative(form: str) -> None:
    criterion = FORMS[form]().eval()
    views = [torch.randn(5, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradgradcheck(lambda *z: criterion(z), views)


@pytest.mark.parametrize(("n", "d"), [(7, 3), (4, 9)])
@pytest.mark.parametrize("part", [marginal_entropy, covariance_penalty])
def test_parts_have_all_derivatives_in_both_modes(part, n: int, d: int) -> None:  # type: ignore[no-untyped-def]
    u = torch.rand(n, d, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(part, u, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(part, u, check_fwd_over_rev=True)


def test_hessian_of_the_parts_is_that_of_algorithm_1() -> None:
    u = torch.rand(9, 4, dtype=torch.float64)
    for ours, theirs in (
        (lambda u: marginal_entropy(u).sum(), lambda u: algorithm_1_entropy(u).sum()),
        (covariance_penalty, algorithm_1_covariance),
    ):
        torch.testing.assert_close(
            torch.func.hessian(ours)(u), torch.autograd.functional.hessian(theirs, u)
        )


@every_form
def test_torch_func(form: str) -> None:
    f = on_two_views(form)
    batch = torch.randn(3, 8, 3, dtype=torch.float64)
    each = torch.stack([torch.func.grad(f)(z) for z in batch])
    torch.testing.assert_close(torch.func.vmap(f)(batch), torch.stack([f(z) for z in batch]))
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(f))(batch), each)
    z, tangent = batch[0], batch[1]
    _, along = torch.func.jvp(f, (z,), (tangent,))
    torch.testing.assert_close(along, (each[0] * tangent).sum())
    _, bent = torch.func.jvp(torch.func.grad(f), (z,), (tangent,))
    hessian = torch.func.hessian(f)(z).reshape(24, 24)
    torch.testing.assert_close(hessian @ tangent.flatten(), bent.flatten())


@every_form
def test_compiles_without_a_break(form: str) -> None:
    torch.compiler.reset()
    views = [torch.randn(16, 3, requires_grad=True) for _ in range(2)]
    eager, compiled = FORMS[form](), torch.compile(FORMS[form](), fullgraph=True, backend="eager")
    for _ in range(12):  # more than the recompilations that torch would put up with
        expected, actual = eager(views), compiled(views)  # what is remembered is carried along
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)
    for one, other in zip(
        torch.autograd.grad(actual, views), torch.autograd.grad(expected, views), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
