"""Losses that train a segmentor on imperfect labels."""

from wsss_mm.models.losses.dense_energy import DenseEnergyLoss, dense_energy
from wsss_mm.models.losses.dsrg import DSRGLoss, balanced_seed_loss, with_diagonal_gradient
from wsss_mm.models.losses.gain_seg import GAINSegLoss, cue_cross_entropy, tag_loss
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
from wsss_mm.models.losses.region_growing import grow_seeds
from wsss_mm.models.losses.sec import (
    SECLoss,
    constrain_loss,
    expand_loss,
    floored_posterior,
    rank_pooling,
    seed_loss,
)
from wsss_mm.models.losses.seeds import SeedBatch, SeedLoss, floored_probabilities

__all__ = ['BootstrappingLoss', 'DSRGLoss', 'DenseEnergyLoss', 'EntropyRegularization', 'GAINSegLoss',
           'NoiseAwareLoss', 'NoisyLabelLoss', 'ReliableCrossEntropy', 'SECLoss', 'SeedBatch', 'SeedLoss',
           'balanced_seed_loss', 'bootstrapping_loss', 'confidence', 'constrain_loss', 'cue_cross_entropy',
           'dense_energy', 'entropy_regularization', 'expand_loss', 'floored_posterior', 'floored_probabilities',
           'grow_seeds', 'noise_aware_loss', 'poly_beta', 'rank_pooling', 'reliable_cross_entropy', 'seed_loss',
           'split_by_agreement', 'tag_loss', 'with_diagonal_gradient']
