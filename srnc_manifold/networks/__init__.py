"""Whole networks: all their layers normalized at once, however the weights are given."""

from srnc_manifold.networks.layers import NetworkLayer
from srnc_manifold.networks.normalization import Goal, normalize
from srnc_manifold.networks.outcome import Normalization
from srnc_manifold.networks.rows import Row

__all__ = ["Goal", "NetworkLayer", "Normalization", "Row", "normalize"]
