"""Grad-CAM (Selvaraju et al., ICCV 2017), for the head's map or any layer of the network."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from wsss_mm.errors import ConfigError
from wsss_mm.localization.localizer import Localizer, Views
from wsss_mm.registry import TASK_UTILS


@TASK_UTILS.register_module()
class GradCAM(Localizer):
    """``Σ_k w_k f_k`` with ``w_k`` the sum over positions of the gradient of the class's raw logit (eq. 1 and 2).

    The paper's 1/Z, one over the number of positions, is left out: it would weigh an image at twice the size a
    quarter as much where :class:`MultiScale` adds sizes. Without it, the maps of an average-pooled classifier are its
    class maps. They are signed; the paper's ReLU is left to :class:`MultiScale`, whose ``relu`` says when.

    For the head's own map nothing behind it is differentiated, and nothing at all where the head pools with weights
    of its own (``head.gradcam_weights``). For another layer, the part of the network after it is run with gradients
    and differentiated once for all present classes of all images: the k-th class of every image forms one row, and
    the rows are a batch (``is_grads_batched``). Images do not mix in eval mode, so that is K rows, K being the
    largest number of classes in an image, where a backward per image and class takes P. Operations that know no
    batched gradient are differentiated row by row. Neither the part before the layer nor any parameter takes part.

    Args:
        layer: Dotted name of a module, as in ``model.named_modules()``; None is the map that the head works on. Its
            output may be a map ``(N, D, h, w)`` or ``(N, h, w, D)``, tokens ``(N, L, D)`` with L = h·w of the head's
            map, or a tuple, of which the last such tensor that the logits depend on is taken. Of a module that runs
            several times it is the last time.
    """

    def __init__(self, layer: str | None = None) -> None:
        self.layer = layer

    def maps(self, model: Any, inputs: Tensor, tags: Tensor, views: Views | None = None) -> Tensor:
        """See :meth:`Localizer.maps`.

        Raises:
            ConfigError: a layer that there is not, that does not run, that the logits do not depend on, or whose
                output is no map.
        """
        if self.layer is not None:
            return self._maps_of_layer(model, inputs, tags)
        with torch.no_grad():
            feature_map = model.head.select(model.extract_feat(inputs))
            pairs = tags.nonzero()
            weights = model.head.gradcam_weights(feature_map, pairs)
            maps = torch.einsum('pd,pdhw->phw', weights, feature_map[pairs[:, 0]].to(weights.dtype))
            return maps * maps[0].numel() if len(maps) else maps

    def _maps_of_layer(self, model: Any, inputs: Tensor, tags: Tensor) -> Tensor:
        module = find_layer(model, self.layer, 'GradCAM')
        taken: list[Tensor] = []
        with graph_from(module, taken):
            feats = model.extract_feat(inputs)
            head_map = model.head.select(feats)
            size = tuple(head_map.shape[2:])
            logits = model.head(feats)
        if not taken:
            raise ConfigError(f'GradCAM: {self.layer!r} was not called with a tensor as its result',
                              expected='a layer that the class scores pass through', fix='choose its parent or None')
        if not tags.any():
            return head_map.new_zeros(0, *size)
        slot = tags.cumsum(1) - 1                # of each present class within its image
        image, label = tags.nonzero().unbind(1)
        rows = logits.new_zeros(int(slot.max()) + 1, *logits.shape)
        rows[slot[image, label], image, label] = 1
        for activation in reversed(taken):
            gradient = _row_gradients(logits, activation, rows)
            if gradient is not None:
                break
        else:
            raise ConfigError(f'GradCAM: the class scores do not depend on {self.layer!r}',
                              expected='a layer between the image and the class scores',
                              fix="choose one that feeds the head's in_index, or None for the head's own map")
        activation = self._as_map(activation.detach(), size, len(inputs))
        weights = self._as_map(gradient.flatten(0, 1), size, len(inputs) * len(rows)).sum((2, 3))
        found = torch.einsum('knd,ndhw->knhw', weights.unflatten(0, rows.shape[:2]), activation)
        return found[slot[image, label], image]

    def _as_map(self, tensor: Tensor, size: tuple[int, ...], images: int) -> Tensor:
        """The layer's output, or its gradient, as ``(N, D, h, w)``."""
        shape = tuple(tensor.shape)
        if len(tensor) == images:
            if tensor.dim() == 4:
                return tensor.permute(0, 3, 1, 2) if shape[1:3] == size != shape[2:] else tensor
            if tensor.dim() == 3 and shape[1] == size[0] * size[1]:
                return tensor.transpose(1, 2).unflatten(2, size)
        raise ConfigError(f'GradCAM: {self.layer!r} gives {shape}, which is no map of {images} images',
                          expected='(N, D, h, w), (N, h, w, D) or (N, L, D) with L = {} x {}'.format(*size),
                          fix='choose the block or stage that holds this layer, or None')


def find_layer(model: Any, layer: str | None, user: str) -> torch.nn.Module:
    """A module of the model by its dotted name.

    Raises:
        ConfigError: there is none; names close ones.
    """
    modules = dict(model.named_modules())
    if layer in modules and layer:
        return modules[layer]
    names = [name for name in modules if name]
    close = difflib.get_close_matches(str(layer), names, 5, .4)
    raise ConfigError(f'{user}: the model has no layer {layer!r}',
                      expected=f'one of its modules, such as {", ".join(close or names[:5])}',
                      fix='choose one of dict(model.named_modules())')


@contextmanager
def graph_from(module: torch.nn.Module, taken: list[Tensor]) -> Iterator[None]:
    """Record operations from the module's output on; collects the tensors of that output in ``taken``."""
    def start(_: torch.nn.Module, __: Any, output: Any) -> Any:
        torch.set_grad_enabled(True)
        taken.clear()
        if isinstance(output, (tuple, list)):
            return type(output)(map(watched, output))
        return watched(output)

    def watched(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        taken.append(value.detach().requires_grad_())
        return taken[-1].clone()                 # what follows may work in place

    handle = module.register_forward_hook(start)
    try:
        with torch.no_grad():
            yield
    finally:
        handle.remove()


def _row_gradients(logits: Tensor, activation: Tensor, rows: Tensor) -> Tensor | None:
    """Gradients ``(K, …)`` of K weighted sums of the logits, by rows ``(K, N, C)``; None if there is no way.

    Raises:
        ConfigError: blocks that a backbone checkpoints, which allow no gradient of a layer.
    """
    if not logits.requires_grad:
        return None

    def gradient(outputs: Tensor, batched: bool) -> Tensor | None:
        return torch.autograd.grad(logits, activation, outputs, retain_graph=True, allow_unused=True,
                                   is_grads_batched=batched)[0]

    try:
        return gradient(rows, True)
    except RuntimeError as error:                # an operation whose backward knows no batches
        if 'checkpoint' in str(error):
            raise ConfigError(f'GradCAM: the network checkpoints blocks after the layer ({error})',
                              fix='set with_cp=False in the backbone: labels need no memory for a training step'
                              ) from None
        single = [gradient(row, False) for row in rows]
        return None if single[0] is None else torch.stack(single)  # type: ignore[arg-type]
