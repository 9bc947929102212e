"""The `tandem` command. It speaks the gateway's REST API and imports no other service."""
