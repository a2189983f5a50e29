"""Gathers the documents for `make site`, because MkDocs reads one folder, and the documents are in several folders.

The folder has the layout of the repository, so every relative link stays valid.
"""

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
GATHERED = ROOT / "dist" / "site-source"
FOLDERS = (".", "docs", "docs/decisions", "docs/runbooks", "bench", "charts/polka")
LINK = re.compile(r"""(?:\]\(|src=["']|srcset=["'])([^)"'\s#]+)""")


def main() -> None:
    shutil.rmtree(GATHERED, ignore_errors=True)
    for page in pages():
        for path in (page, *linked(page)):
            target = GATHERED / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def pages() -> list[Path]:
    return [page for folder in FOLDERS for page in sorted((ROOT / folder).glob("*.md"))]


def linked(page: Path) -> list[Path]:
    """The other files of a page, shown or linked: pictures, examples, the license."""
    targets = [(page.parent / link).resolve() for link in LINK.findall(page.read_text()) if "://" not in link]
    return [target for target in targets if target.is_file() and target.suffix != ".md"]


if __name__ == "__main__":
    main()
