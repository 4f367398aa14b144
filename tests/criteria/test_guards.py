"""Mistakes that would train nothing are said once, and NaN is never overlooked."""

import copy
import warnings

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from e2mc.criteria import E2MC, Uniformity, VCReg
from e2mc.criteria.guards import InputGuard
from tests.criteria.test_every_criterion import FORMS


def sphere() -> E2MC:
    return E2MC("hypersphere", 1.0, 25.0)


def with_gradient(z: Tensor) -> Tensor:
    return z.requires_grad_()


def test_detached_embeddings_are_warned_of_once(recwarn: pytest.WarningsRecorder) -> None:
    warnings.simplefilter("always")
    criterion = sphere()
    z = torch.randn(8, 4)
    for _ in range(3):
        criterion([z, z])
    (said,) = recwarn.list
    assert "without gradient" in str(said.message)
    assert "E2MC" in str(said.message)


@pytest.mark.filterwarnings("error")
def test_no_warning_where_nothing_is_wrong() -> None:
    z = torch.randn(8, 4)
    sphere()([z, with_gradient(z.clone())])  # one view is enough: the other may be a teacher's
    with torch.no_grad():
        sphere()([z])
    sphere().eval()([z])
    torch.func.grad(lambda z: sphere()([z]))(z)
    Uniformity()([with_gradient(F.normalize(z))])  # looks at directions only


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_unit_norm_is_warned_of_once(dtype: torch.dtype, recwarn: pytest.WarningsRecorder) -> None:
    warnings.simplefilter("always")
    criterion = sphere()
    z = with_gradient(F.normalize(torch.randn(8, 4)).to(dtype))
    for _ in range(3):
        criterion([z])
    assert ["norm 1" in str(said.message) for said in recwarn.list] == [True]
    VCReg()([z])
    assert len(recwarn.list) == 1


def test_views_one_by_one_or_one_tensor_are_explained() -> None:
    a, b = torch.randn(2, 8, 4)
    with pytest.raises(TypeError, match=r"one list: criterion\(\[z_a, z_b\]\)"):
        sphere()(a, b)
    with pytest.raises(ValueError, match=r"got one tensor of shape \(8, 4\): write criterion"):
        sphere()(a)
    torch.testing.assert_close(sphere()(torch.stack([a, b])), sphere()([a, b]))


class Arrived:
    def record_event(self) -> "Arrived":
        return self

    def synchronize(self) -> None:
        pass


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deferred way, with CPU tensors: what is sent arrives at once."""
    monkeypatch.setattr(torch.cuda, "current_stream", Arrived)

    def later(guard: InputGuard, views: list[Tensor]) -> None:
        guard._receive()
        guard._send(views)

    monkeypatch.setattr(InputGuard, "watch_values", later)


def test_on_a_gpu_the_next_call_raises(as_on_a_gpu: None) -> None:
    good, bad = torch.randn(8, 4, requires_grad=True), torch.full((8, 4), torch.nan)
    criterion = sphere()
    criterion([good, good])
    criterion([good, bad])
    with pytest.raises(ValueError, match="view 1 of the call before this one held NaN"):
        criterion([good, good])
    assert criterion([good, good]).isfinite()


def test_on_a_gpu_the_next_call_warns_of_unit_norm(
    as_on_a_gpu: None, recwarn: pytest.WarningsRecorder
) -> None:
    warnings.simplefilter("always")
    criterion = sphere()
    z = with_gradient(F.normalize(torch.randn(8, 4)))
    for _ in range(4):
        criterion([z, z])
    assert ["norm 1" in str(said.message) for said in recwarn.list] == [True]


class ValuesWanted(TorchDispatchMode):
    """Notes every operation whose result the host needs, for which a GPU would be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = func.overloadpacket.__name__
        if name in {
            "_local_scalar_dense",
            "nonzero",
            "is_nonzero",
            "equal",
            "_linalg_check_errors",
        }:
            self.operations.append(name)
        return func(*args, **(kwargs or {}))


WAITING = {"mi", "mi-series"}  # their factorisations report failure to the host


@pytest.mark.parametrize("form", [form for form in FORMS if form not in WAITING])
def test_a_step_needs_no_value_on_the_host(form: str, as_on_a_gpu: None) -> None:
    """In double precision, which is sorted on a CPU as on a GPU."""
    criterion = FORMS[form]()
    views = [torch.randn(16, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    criterion(views)  # constants are computed once
    with ValuesWanted() as wanted:
        loss = criterion(views)
        torch.autograd.backward(loss)
    assert wanted.operations == []
    with ValuesWanted() as wanted:
        loss.item()
    assert wanted.operations, "the host does read a value when asked to"


def test_a_verdict_on_its_way_does_not_travel_with_a_copy(as_on_a_gpu: None) -> None:
    criterion = sphere()
    criterion([torch.full((8, 4), torch.nan)])
    twin = copy.deepcopy(criterion)
    assert twin([torch.randn(8, 4)]).isfinite()
    with pytest.raises(ValueError, match="call before"):
        criterion([torch.randn(8, 4)])
