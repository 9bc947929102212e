"""The `tandem` command. It speaks the gateway's REST API and imports no other service.

- `app` puts the commands of `commands/` together; `up/` is `tandem up`, `fsck/` is `tandem fsck`.
- `client/` is the Python client that they use (`docs/client.md`).
- `output` and `screen` print, `plots/` draws; `condition` and `waiting` are `tandem wait`; `exits` has the exit
  codes.
"""
