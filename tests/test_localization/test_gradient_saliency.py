"""Background by the gradients of all class scores."""

import numpy as np
import pytest
import torch

from wsss_mm.errors import ConfigError
from wsss_mm.localization import gradient_saliency, least_salient


@torch.no_grad()
def test_is_the_largest_gradient_over_channels(scoring):
    model, inputs = scoring().eval(), torch.randn(2, 3, 40, 48)
    found = gradient_saliency(model, inputs, 'backbone.layer1')
    assert not torch.is_grad_enabled() and not found.requires_grad
    kept = []
    handle = model.backbone.layer1.register_forward_hook(lambda *a: kept.append(a[2]) or a[2].retain_grad())
    with torch.enable_grad():
        model.head(model.extract_feat(inputs.clone().requires_grad_())).sum().backward()
    handle.remove()
    torch.testing.assert_close(found, kept[0].grad.abs().amax(1))
    torch.testing.assert_close(gradient_saliency(model, inputs[1:], 'backbone.layer1')[0], found[1])
    torch.testing.assert_close(gradient_saliency(model, inputs, 'backbone.layer1'), found)


def test_layers_that_cannot_be_used(scoring):
    model, inputs = scoring(), torch.randn(1, 3, 40, 48)
    with pytest.raises(ConfigError, match="no layer 'backbone.layer9'"):
        gradient_saliency(model, inputs, 'backbone.layer9')
    with pytest.raises(ConfigError, match='gives no map'):
        gradient_saliency(model, inputs, 'head')


def test_the_tenth_of_the_lowest():
    saliency = np.arange(100, dtype=np.float32).reshape(10, 10)
    saliency[5, 5] = -7   # an outlier, which the median takes away
    lowest = least_salient(saliency, .1)
    assert lowest.sum() == 10 and lowest[0].all()
    assert least_salient(np.zeros((5, 5)), .1).sum() == 2
