"""Predictions over HTTP from what was judged: store → models → predictor → batching → classify → routes."""
