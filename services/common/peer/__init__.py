"""The next service: finding its processes, balancing requests over them, and HTTP to each."""

from services.common.peer.peer import Affinity, Peer

__all__ = ["Affinity", "Peer"]
