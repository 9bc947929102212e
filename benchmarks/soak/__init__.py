"""A soak: everything works at once while faults strike at random; at the end, what must hold is checked."""
