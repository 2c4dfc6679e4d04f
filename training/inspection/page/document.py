"""An HTML document that stands alone: nothing in it asks for anything from elsewhere, and browsers hold it to that."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from html import escape


def make_document(title: str, css: str, body: str, script: str = "") -> str:
    """Return the document; `title` is text, `body` is HTML, and `script` the only script that a browser may run in it."""
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"script-src 'sha256-{digest}'; " if script else ""
    policy = (
        f"default-src 'none'; {allowed}style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{css}</style></head>\n"
        f"<body>{body}{f'<script>{script}</script>' if script else ''}</body></html>\n"
    )
