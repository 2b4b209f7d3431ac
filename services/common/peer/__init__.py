"""HTTP to the next service: finds its endpoints, balances requests over them, retries once."""

from services.common.peer.discovery import ProbePaths
from services.common.peer.hold import Hold
from services.common.peer.peer import Peer

__all__ = ["Hold", "Peer", "ProbePaths"]
