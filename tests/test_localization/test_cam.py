"""Class activation maps, alone and fused with those of an objective."""

import pytest
import torch

from wsss_mm.errors import ConfigError
from wsss_mm.localization import CAM
from wsss_mm.localization.cam import fuse_maps

close = torch.testing.assert_close
WORDS = [dict(type='wsss_mm.VisualWords', num_classes=6, in_channels=16, num_words=5, hist='mean')]


@pytest.mark.parametrize('backbone', ['toy', 'mobile', 'swin', 'mit'])
@torch.no_grad()
def test_maps_of_the_present_classes_in_their_order(classifier_of, tags_of, backbone):
    """The mean of a map under average pooling is the logit, so the order is checked by the image's scores."""
    model, inputs = classifier_of(backbone), torch.randn(3, 3, 64, 96)
    maps = CAM().maps(model, inputs, tags_of((1, 4), (), (0, 2, 5)))
    logits = model(inputs)
    close(maps.mean((1, 2)), torch.stack([logits[0, 1], logits[0, 4], logits[2, 0], logits[2, 2], logits[2, 5]]))
    assert maps.min() < 0 < maps.max() and logits.unique().numel() == 18
    assert CAM().maps(model, inputs, tags_of((), (), ())).shape == (0, *maps.shape[1:])


@torch.no_grad()
def test_fused_with_visual_words(classifier_of, tags_of):
    model, inputs, tags = classifier_of(objectives=WORDS), torch.randn(2, 3, 32, 48), tags_of((3,), (0, 3))
    feats = model.extract_feat(inputs)
    head, words = model.head.class_maps(feats)[tags], model.objectives[0].class_maps(feats)[tags]
    close(CAM('max').maps(model, inputs, tags), torch.maximum(head, words))
    assert (head < words).any() and (head > words).any()
    close(CAM('max_norm').maps(model, inputs, tags), fuse_maps([head, words], normalize=True))
    close(CAM().maps(model, inputs, tags), head)


def test_fusing_by_hand():
    first = torch.tensor([[[4., -2.]], [[-3., -1.]], [[0., -1.]]])
    second = torch.tensor([[[1., 2.]], [[.5, .25]], [[-2., -3.]]])
    close(fuse_maps([first, second]), torch.tensor([[[4., 2.]], [[.5, .25]], [[0., -1.]]]))
    close(fuse_maps([first, second], normalize=True), torch.tensor([[[1., 1.]], [[1., .5]], [[0., -1.]]]))
    assert fuse_maps([torch.zeros(0, 2, 3)] * 2, normalize=True).shape == (0, 2, 3)


def test_what_cannot_be_fused(classifier_of, tags_of):
    with pytest.raises(ConfigError, match="fuse='sum'"):
        CAM('sum')
    with pytest.raises(ConfigError, match='no objective of the model has class maps') as caught:
        CAM('max').maps(classifier_of(), torch.randn(1, 3, 32, 32), tags_of((1,)))
    assert "fuse='none'" in str(caught.value)
    with pytest.raises(ConfigError, match='in_index'):
        fuse_maps([torch.zeros(1, 2, 2), torch.zeros(1, 4, 4)])
