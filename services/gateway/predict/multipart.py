"""The files of a multipart/form-data body (RFC 7578), as forms and `curl -F` send them.

The body is in memory whole and limited already; nothing of it is copied but the files, and nothing is written to disk.
"""

import re
from email.message import Message

from shared.errors import InstancesError

MULTIPART = "multipart/form-data"
_LONGEST_HEAD = 4096


def files(body: bytes, content_type: str, *, most: int) -> list[bytes]:
    """The contents of all parts, each of which must be a file, in order.

    Args:
        body: The whole body.
        content_type: Its header, which names the boundary.
        most: So many files are taken.

    Raises:
        InstancesError: It is no such body, is cut off, has no file, has too many, or has a field that is none.
    """
    boundary = _parameters(content_type).get_param("boundary")
    if not isinstance(boundary, str) or not 1 <= len(boundary) <= 70:
        raise InstancesError("has no boundary of 1 to 70 characters", where="content-type")
    mark = b"--" + boundary.encode("latin-1", "replace")
    if not body.startswith(mark) and b"\r\n" + mark not in body:
        raise InstancesError("does not have the boundary that its content type names", where="body")
    # What stands before the first mark is no part; a part ends before the line break in front of the next mark.
    parts = (b"\r\n" + body).split(b"\r\n" + mark, most + 2)[1:]
    found: list[bytes] = []
    for index, part in enumerate(parts):
        if part.startswith(b"--"):
            if not found:
                raise InstancesError("has no file", where="body")
            return found
        if index == most:
            raise InstancesError(f"holds more than {most} files", where="body")
        found.append(_file(part, f"body.{index}"))
    raise InstancesError("ends before its last boundary", where="body")


def _file(part: bytes, where: str) -> bytes:
    head, separator, content = part.partition(b"\r\n\r\n")
    if not separator or len(head) > _LONGEST_HEAD:
        raise InstancesError("has no head of its own", where=where)
    disposition = re.search(rb"^content-disposition:([^\r\n]*)", head, re.IGNORECASE | re.MULTILINE)
    text = disposition.group(1).decode("latin-1").strip() if disposition else ""
    if _parameters(text).get_param("filename") is None:
        raise InstancesError("is a field and no file", where=where, hint="Options stand in the query, as ?top=5")
    return content


def _parameters(value: str) -> Message:
    """A header's value with its parameters, as the standard library reads them."""
    message = Message()
    message["content-type"] = re.sub(r"[\r\n]", " ", value) or "none"
    return message
