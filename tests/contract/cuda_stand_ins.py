"""Stand-ins for packages that Megatron-Bridge imports: they need CUDA, or have nothing to do with configurations.

`install()` makes any import of them, and of any module below them, succeed. An attribute of such a module is a real
class, because the library subclasses it, subscribes it, asks `isinstance` about it and decorates with it; a mock does
not bear all of that. Whatever is computed with them is meaningless: they are there to be imported past.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

ABSENT = (
    "apex",
    "causal_conv1d",
    "flash_attn",
    "mamba_ssm",
    "megatron.energon",
    "modelopt",
    "nvidia_resiliency_ext",
    "nvtx",
    "open_clip",
    "qwen_vl_utils",
    "tensorboard",
    "timm",
    "transformer_engine",
    "wandb",
)
# Transformer Engine's release that Megatron-Bridge 0.3.1 asks for; megatron-core compares versions when imported.
VERSION = "2.10.0"


class StandInType(type):
    """The class of stand-in classes: a name below one is another one, and subscribing one changes nothing."""

    def __getattr__(cls, name: str) -> StandInType:
        """Give a stand-in for a name inside a stand-in."""
        if name.startswith("__"):
            raise AttributeError(name)
        return stand_in(name, cls.__module__)

    def __getitem__(cls, _parameters: object) -> StandInType:
        """Give the generic class for its concrete form."""
        return cls

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - an instance, or what was decorated
        """Make an instance, unless it is used as a decorator: then give the function back."""
        if len(args) == 1 and not kwargs and isinstance(args[0], types.FunctionType):
            return args[0]
        return super().__call__(*args, **kwargs)


class StandIn(metaclass=StandInType):
    """What every stand-in is a subclass of."""

    def __init__(self, *_args: object, **_kwargs: object) -> None:
        """Take whatever the real class takes."""

    def __call__(self, target: object = None, *_args: object, **_kwargs: object) -> object:
        """Serve as a decorator that was given arguments: give back what is decorated."""
        return target


def stand_in(name: str, module: str) -> StandInType:
    """Make a stand-in class.

    Args:
        name: Its name.
        module: Name of the module that it is found in.
    """
    return StandInType(name, (StandIn,), {"__module__": module})


class StandInModule(types.ModuleType):
    """A module whose every name is a stand-in."""

    __version__ = VERSION

    def __getattr__(self, name: str) -> StandInType:
        """Make the name's stand-in on first use, and keep it: a class is compared by identity."""
        if name.startswith("__"):
            raise AttributeError(name)
        made = stand_in(name, self.__name__)
        setattr(self, name, made)
        return made


class StandInFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds and loads the absent packages and everything below them."""

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Claim a module if it belongs to an absent package."""
        if any(fullname == name or fullname.startswith(f"{name}.") for name in ABSENT):
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """Make the module."""
        return StandInModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Leave the module as it is: there is no code to run."""


def install() -> None:
    """Put the finder before the others, so that an installed package of the same name does not matter."""
    sys.meta_path.insert(0, StandInFinder())
