"""What is known of the runs on the volume. It reads, and writes nothing but what it may lose."""

from services.gateway.index.index import Index
from services.gateway.index.run import Run, created

__all__ = ["Index", "Run", "created"]
