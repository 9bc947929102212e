"""Dots on a terminal: each braille character has 2 across and 4 down."""

BLANK = "\u2800"

# The bits of a character's dots, column by column from the top.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))


class BrailleCanvas:
    """A canvas of 2 * `width` by 4 * `height` dots, none of them set.

    Args:
        width: In characters.
        height: In lines.
    """

    def __init__(self, *, width: int, height: int) -> None:
        self._cells = [[0] * width for _ in range(height)]

    def dot(self, column: int, row: int) -> None:
        """Sets a dot, counted from the left and from the top."""
        self._cells[row // 4][column // 2] |= _DOTS[column % 2][row % 4]

    def lines(self) -> list[str]:
        """The characters, line by line from the top."""
        return ["".join(chr(ord(BLANK) + bits) for bits in line) for line in self._cells]
