"""A pretended accelerator: tensors of a device of their own that compute on the CPU.

It is as strict as CUDA about devices: an operation that mixes them is an error, but for what CUDA
admits (copies, scalars, indices). And it counts what a GPU's host would wait for: values it reads,
copies that are not said to be `non_blocking`, shapes that depend on values.

The device is registered once and for all in a process, before its first backward pass. So tests
use it in children, of a server that has done nothing yet: `in_a_child`.
"""

import multiprocessing
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.utils.backend_registration as registration
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

NAME = "pretended"
SOURCE = f"{Path(__file__).parents[2] / 'e2mc'}/"

MIXABLE = ("copy_", "_to_copy", "index", "index_put", "index_put_", "_index_put_impl_")
"""Operations that CUDA lets mix devices."""

SHAPED_BY_VALUES = ("nonzero", "masked_select", "_unique2", "equal", "is_nonzero")
"""Operations whose result the host has to wait for."""

waits: Counter[str] = Counter()
"""Line of `e2mc` -> how often a host would have waited for its GPU there."""


class _Backend:
    """What torch asks of the module of a device."""

    is_available = is_initialized = staticmethod(lambda: True)
    device_count = staticmethod(lambda: 1)
    current_device = staticmethod(lambda: 0)
    is_in_bad_fork = _is_in_bad_fork = staticmethod(lambda: False)
    _lazy_init = manual_seed = manual_seed_all = staticmethod(lambda *_: None)
    get_amp_supported_dtype = staticmethod(lambda: [torch.float16, torch.bfloat16])


class Pretended(Tensor):
    """A tensor of the pretended device; what it holds is on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "Pretended":
        made: Pretended = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(NAME, 0),
        )
        made.held = held
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(function, args, kwargs or {})


class _Dispatch(TorchDispatchMode):
    """Sees what makes tensors of the device from nothing, too."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(function, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """Functions that move data to or from a device where no dispatcher sees it."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in (torch.tensor, torch.as_tensor, Tensor.new_tensor):
            own = args[0].device if function is Tensor.new_tensor else None
            device = kwargs.get("device") or own
            if _is_ours(device):
                if function is Tensor.new_tensor:
                    kwargs.setdefault("dtype", args[0].dtype)
                    args = args[1:]
                made = torch.tensor(*args, **{**kwargs, "device": "cpu"})
                return made.to(device)
        elif function is Tensor.tolist and isinstance(args[0], Pretended):
            return args[0].cpu().tolist()
        return function(*args, **kwargs)


def in_a_child(function: Callable[..., None], *arguments: object) -> None:
    """Call a function of a test's module in a process that has the device."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__])
    child = context.Process(target=_call, args=(function, *arguments))
    child.start()
    child.join(120)
    code = child.exitcode
    child.kill()
    assert code == 0, "standard error has the child's error"


def _call(function: Callable[..., None], *arguments: object) -> None:
    registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Backend())
    # wrappers cannot be tensors of the inference mode
    torch.inference_mode.__enter__ = torch.no_grad.__enter__  # type: ignore[assignment]
    torch.inference_mode.__exit__ = torch.no_grad.__exit__
    torch.set_num_threads(1)
    function(*arguments)


@contextmanager
def pretended_accelerator() -> Iterator[torch.device]:
    """The device; `waits` begin anew."""
    waits.clear()
    with _Functions(), _Dispatch():
        yield torch.device(NAME, 0)


def _run(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    name = function.overloadpacket.__name__
    flat, shape = tree_flatten((args, kwargs))
    ours = [value for value in flat if isinstance(value, Pretended)]
    device = kwargs.get("device")
    if not ours and not _is_ours(device):
        return function(*args, **kwargs)
    others = [v for v in flat if isinstance(v, Tensor) and not isinstance(v, Pretended)]
    if ours and name not in MIXABLE and any(other.ndim for other in others):
        shapes = ", ".join(str(tuple(other.shape)) for other in others)
        raise RuntimeError(f"{name} mixes tensors of a GPU with {shapes} of the CPU, at {_line()}")
    if _waits(name, args, kwargs):
        waits[_line()] += 1
    bare_args, bare_kwargs = tree_unflatten(
        [value.held if isinstance(value, Pretended) else value for value in flat], shape
    )
    if device is not None:
        bare_kwargs["device"] = torch.device("cpu")
    made = function(*bare_args, **bare_kwargs)
    if name == "copy_":
        return args[0]
    if device is not None and not _is_ours(device):
        return made
    known = {id(value.held): value for value in ours}
    return tree_map(_wrapped(known), made)


def _wrapped(known: Mapping[int, Pretended]) -> Callable[[Any], Any]:
    """In-place operations give back what they were given."""

    def wrap(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return known[id(value)] if id(value) in known else Pretended(value)

    return wrap


def _waits(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    if name == "_local_scalar_dense" or name in SHAPED_BY_VALUES:
        return True
    if name == "copy_":
        crosses = isinstance(args[0], Pretended) != isinstance(args[1], Pretended)
        return crosses and args[1].ndim > 0 and not (args[2:] and args[2])
    if name == "_to_copy":
        target = kwargs.get("device")
        crosses = target is not None and _is_ours(target) != isinstance(args[0], Pretended)
        return crosses and not kwargs.get("non_blocking", False)
    if name in MIXABLE:
        indices = [index for index in args[1] if index is not None]
        return any(i.dtype == torch.bool or not isinstance(i, Pretended) for i in indices)
    return False


def _is_ours(device: Any) -> bool:
    return device is not None and torch.device(device).type == NAME


def _line() -> str:
    """The innermost line of `e2mc` that is being run."""
    frame = sys._getframe()
    while frame is not None and not frame.f_code.co_filename.startswith(SOURCE):
        frame = frame.f_back
    if frame is None:
        return "a test"
    return f"{frame.f_code.co_filename.removeprefix(SOURCE)}:{frame.f_lineno}"
