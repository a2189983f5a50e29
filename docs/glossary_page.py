"""The glossary as a page of the console, from docs/glossary.md."""

import html
import re

PAGE = """\
<!doctype html>
<!-- Written by docs/generate.py: `make docs` writes it anew. -->
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Polka: glossary</title>
<link rel="icon" href="/console/icon.svg">
<link rel="stylesheet" href="/console/console.css">
</head>
<body>
<main id="glossary">
<h1>Glossary</h1>
<ul>
{items}
</ul>
<p><a href="/console">The console</a></p>
</main>
</body>
</html>
"""
MARKUP = {
    r"\[([^]]+)\]\([^)]+\)": r"\1",
    r"\*\*([^*]+)\*\*": r"<strong>\1</strong>",
    r"`([^`]+)`": r"<code>\1</code>",
}
"""The markup of the glossary. A link to another document becomes its text, because the console has no other one."""


def page(glossary: str) -> str:
    """The page, from the Markdown of the glossary: a heading and a list."""
    _, *items = re.split(r"^- ", glossary, flags=re.MULTILINE)
    return PAGE.format(items="\n".join(f"<li>{rendered(' '.join(item.split()))}</li>" for item in items))


def rendered(text: str) -> str:
    text = html.escape(text, quote=False)
    for markup, replacement in MARKUP.items():
        text = re.sub(markup, replacement, text)
    return text
