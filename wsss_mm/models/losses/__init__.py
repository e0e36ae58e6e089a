"""Losses that train a segmentor on imperfect labels."""

from wsss_mm.models.losses.noisy_labels import (
    BootstrappingLoss,
    EntropyRegularization,
    NoiseAwareLoss,
    NoisyLabelLoss,
    ReliableCrossEntropy,
    bootstrapping_loss,
    confidence,
    entropy_regularization,
    noise_aware_loss,
    poly_beta,
    reliable_cross_entropy,
    split_by_agreement,
)
from wsss_mm.models.losses.seeds import SeedBatch, SeedLoss, floored_probabilities

__all__ = ['BootstrappingLoss', 'EntropyRegularization', 'NoiseAwareLoss', 'NoisyLabelLoss', 'ReliableCrossEntropy',
           'SeedBatch', 'SeedLoss', 'bootstrapping_loss', 'confidence', 'entropy_regularization',
           'floored_probabilities', 'noise_aware_loss', 'poly_beta', 'reliable_cross_entropy', 'split_by_agreement']
