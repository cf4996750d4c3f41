"""HFD-Net in torch: configuration, encoder, feature alignment, network, checkpoint. Needed for training and export only."""

from hfd_edge.network.checkpoint import load_checkpoint, save_checkpoint
from hfd_edge.network.config import NetworkConfig
from hfd_edge.network.hfdnet import HFDNet, upsample

__all__ = ["HFDNet", "NetworkConfig", "load_checkpoint", "save_checkpoint", "upsample"]
