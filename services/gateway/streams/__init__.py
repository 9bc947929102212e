"""What happens, as it happens: files that grow, read once for everybody who listens, and sent as server-sent events."""
