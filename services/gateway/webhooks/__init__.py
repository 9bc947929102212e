"""Webhooks: what happened to runs, sent to addresses that the operator names, signed, at least once each."""
