"""The gateway: REST API, run control and predictions. It never imports TensorFlow.

- `app` puts the HTTP application together from `routes/` (one module per noun), `access/` (keys, rates, audit) and
  `web/` (the page); `views` are what routes answer with, `errors` the one shape of errors, `server` and `connection`
  the transport.
- `index/` knows the runs on the volume and changes nothing; `steering/` changes what is desired of them, and its
  reconcile loop starts and stops trainers through `launchers/` (processes or containers).
- `predict/` serves models: classification, TensorFlow Serving's API, the Open Inference Protocol.
- `streams/` are server-sent events, `webhooks/` signed messages, both fed by `follower`.
"""
