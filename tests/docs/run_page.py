"""Runs the Python blocks of a page in order, in one scope: `python run_page.py PAGE`.

Prints a JSON list of what each block printed.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from pathlib import Path

BLOCK = re.compile(r"^```python\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


def main(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    scope: dict[str, object] = {"__name__": "__page__"}
    printed = []
    for found in BLOCK.finditer(text):
        line = text.count("\n", 0, found.start(1))
        code = compile("\n" * line + found[1], str(page), "exec")
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(code, scope)
        printed.append(out.getvalue())
    json.dump(printed, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
