"""Checks everything on a volume: digests, records, lines, leftovers, leases. Needs no gateway and disturbs none."""
