"""The shell of every page we write: one file that asks for nothing outside itself."""

from __future__ import annotations

from html import escape

__all__ = ["render_document"]

# The policy makes the browser itself refuse whatever is not in the file.
_DOCUMENT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<div class="page">
{body}
</div>
</body>
</html>
"""


def render_document(*, title: str, style: str, body: str) -> str:
    """Return a page.

    Args:
        title: plain text.
        style: CSS.
        body: HTML, its texts escaped.
    """
    return _DOCUMENT.format(title=escape(title), style=style, body=body)
