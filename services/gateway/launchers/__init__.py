"""Launchers: how trainers are started in slots, behind one protocol."""
