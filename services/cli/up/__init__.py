"""`tandem up`: gateway, evaluator and trainer as local processes, one run followed to its end, all stopped in order.

Its own files lie in `up/` on the volume: a log of each process, the lock that keeps a second one away, and the test
picture that is classified at the end.
"""
