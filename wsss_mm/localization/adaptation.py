"""A network with weights of its own for one image, and stages of it that need not run twice."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from wsss_mm.errors import ConfigError
from wsss_mm.models.objectives.base import pass_state


class AdaptedWeights:
    """Copies of some of a network's parameters, which stand in the originals' place inside :meth:`installed`.

    The originals are never written to, so the network is bit for bit the same afterwards, whatever happens.

    Args:
        model: The network.
        parts: Dotted names of its modules or parameters.

    Attributes:
        copies: The copy of each parameter below ``parts``, by its name.

    Raises:
        ConfigError: a part that there is not, or that has no parameters.
    """

    def __init__(self, model: nn.Module, parts: Sequence[str]) -> None:
        self.model, self.parts = model, tuple(parts)
        self.copies: dict[str, nn.Parameter] = {}
        own: dict[int, nn.Parameter] = {}     # by the original, which may have several names
        for name, parameter in model.named_parameters(remove_duplicate=False):
            if any(name == part or name.startswith(part + '.') for part in self.parts):
                copy = own.setdefault(id(parameter), nn.Parameter(parameter.detach().clone()))
                self.copies[name] = copy
        for part in self.parts:
            if not self._of(part):
                self._refuse(part)
        self.originals = set(own)
        self._places = [(module, key, parameter, own[id(parameter)]) for module in model.modules()
                        for key, parameter in module.named_parameters(recurse=False, remove_duplicate=False)
                        if id(parameter) in own]

    def _of(self, part: str) -> list[nn.Parameter]:
        return [copy for name, copy in self.copies.items() if name == part or name.startswith(part + '.')]

    def _refuse(self, part: str) -> None:
        names = {name.rpartition('.')[0] for name, _ in self.model.named_parameters()}
        names |= {name.rpartition('.')[0] for name in names if '.' in name}
        close = difflib.get_close_matches(part, sorted(names - {''}), 5, .4)
        raise ConfigError(f'the model has no weights below {part!r}, which is to be trained',
                          expected='modules such as ' + ', '.join(close or sorted(names - {''})[:5]),
                          fix='correct `trained`')

    @contextmanager
    def installed(self) -> Iterator[None]:
        """The network has the copies, which alone take gradients, and uses its running statistics."""
        with pass_state(self.model, 'eval', frozen=True):
            try:
                for module, key, _, copy in self._places:
                    setattr(module, key, copy)
                yield
            finally:
                for module, key, original, _ in self._places:
                    setattr(module, key, original)

    def check_gradients(self) -> None:
        """To be called after a first backward.

        Raises:
            ConfigError: a part without a gradient.
        """
        for part in self.parts:
            if all(copy.grad is None for copy in self._of(part)):
                raise ConfigError(f'{part!r} is to be trained, but the class maps do not depend on it',
                                  expected="parts between the image and the head's class maps",
                                  fix='take it out of `trained`')


class StageCache:
    """Results of the stages that do not depend on adapted weights, kept for inputs that come again.

    Stages are the largest parts of a backbone without an adapted parameter; kept are those of them with matrices or
    kernels, layers such as batch norms run again. Which of them come before every adapted one is learnt in a pass with
    gradients: their input takes none. An input is known by its values, so whoever runs the network gets the result,
    as long as no gradient of the input is wanted. What is drawn at random or watched by a hook runs, and what somebody
    has written into is computed again.

    Args:
        backbone: Part of a network.
        adapted: Its weights.
        inputs: How many are kept of each stage, the first ones.
    """

    def __init__(self, backbone: nn.Module, adapted: AdaptedWeights, inputs: int) -> None:
        self.limit = inputs
        self._stages = list(dict.fromkeys(_frozen_stages(backbone, adapted.originals)))
        self.kept: dict[nn.Module, list[tuple[Tensor, int, Tensor, int]]] = {}

    @contextmanager
    def used(self, learn: bool = False) -> Iterator[None]:
        """Stages answer from the cache.

        Args:
            learn: Find out which stages are constant, in a pass with gradients.
        """
        if learn:
            self.kept = {stage: [] for stage in self._stages if any(p.dim() > 1 for p in stage.parameters())}
        with ExitStack() as stack:
            for stage in self._stages:
                if getattr(stage, 'inplace', False):     # would write into what is kept
                    stack.enter_context(_replaced(stage, 'inplace', False))
            for stage in list(self.kept):
                stack.enter_context(_replaced(stage, 'forward', _Answer(self, stage, learn)))
            yield


class _Answer:
    """The forward of a stage, from the cache where it can be."""

    def __init__(self, cache: StageCache, stage: nn.Module, learn: bool) -> None:
        self.cache, self.stage, self.learn, self.forward = cache, stage, learn, stage.forward

    def __call__(self, *args: Any, **options: Any) -> Any:
        x = args[0] if len(args) == 1 and not options else None
        known = self.cache.kept.get(self.stage)
        if known is None or not isinstance(x, Tensor) or _at_work(self.stage):
            return self.forward(*args, **options)
        if x.requires_grad and torch.is_grad_enabled():
            if self.learn:
                del self.cache.kept[self.stage]
            return self.forward(x)
        known[:] = [entry for entry in known if entry[0]._version == entry[1] and entry[2]._version == entry[3]]
        for key, _, result, _ in known:
            if key.shape == x.shape and torch.equal(key, x):
                return result
        version, result = x._version, self.forward(x)
        if len(known) < self.cache.limit and isinstance(result, Tensor):
            known.append((x, version, result, result._version))
        return result


def _at_work(stage: nn.Module) -> bool:
    """Whether something in a stage is drawn at random, or watched by a hook, so that it has to run."""
    return any(m.training or m._forward_hooks or m._forward_pre_hooks for m in stage.modules())


def _frozen_stages(module: nn.Module, adapted: set[int]) -> Iterator[nn.Module]:
    own = [id(parameter) in adapted for parameter in module.parameters()]
    if not any(own):
        yield module
    elif not all(own):
        for child in module.children():
            yield from _frozen_stages(child, adapted)


@contextmanager
def known_features(model: nn.Module, inputs: Sequence[Tensor], feats: Sequence[tuple[Tensor, ...]]) -> Iterator[None]:
    """Whoever runs ``model.extract_feat`` without gradients on one of the inputs gets its features.

    Args:
        model: A classifier.
        inputs: What it was run on.
        feats: What it gave.
    """
    extract: Any = model.extract_feat

    def answer(x: Tensor) -> Any:
        if not torch.is_grad_enabled() and not _at_work(model):
            for known, found in zip(inputs, feats, strict=True):
                if known.shape == x.shape and torch.equal(known, x):
                    return tuple(f.detach() for f in found)
        return extract(x)

    with _replaced(model, 'extract_feat', answer):
        yield


@contextmanager
def _replaced(owner: Any, name: str, method: Any) -> Iterator[None]:
    """Another method, for this object alone."""
    own = vars(owner).get(name)
    setattr(owner, name, method)
    try:
        yield
    finally:
        delattr(owner, name) if own is None else setattr(owner, name, own)
